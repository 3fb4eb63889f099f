"""A rank that fails says why and ends at once, also where parting from the other ranks would block."""

import subprocess
import sys
import time
from pathlib import Path

from launching import environment
from recipes import tiny, write

from apollo_ds.errors import EXIT_LOST_RANK, EXIT_OWN_FAULT, EXIT_USER_ERROR

_PROGRAM = """
import sys, time
import torch.distributed as dist
from apollo_ds.engine.engine import Engine
from apollo_ds.__main__ import main

destroy = dist.destroy_process_group
def waits_as_nccl_does(group=None):
    time.sleep(600) if group is None else destroy(group)

step = Engine.train_step
def fail(engine, batches, plans, *rest):
    dist.destroy_process_group = waits_as_nccl_does
    if plans[0].step == 2 and engine.processes.rank == 1:
        raise RuntimeError("as it happens")
    return step(engine, batches, plans, *rest)
Engine.train_step = fail
main(["train", *sys.argv[1:]])
"""


def test_a_fault_is_told_once_and_ends_all_at_once(tmp_path: Path) -> None:
    """Of two ranks that nothing launched: the one that fails names its log, and the other one ends for want of it."""
    recipe = tiny("gpt2", tmp_path / "run", method="scratch", peak_flops=1e9)
    shared = {**environment(), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, write(recipe, tmp_path / "recipe.yaml")],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        printed = [rank.communicate(timeout=120)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [EXIT_LOST_RANK, EXIT_OWN_FAULT]
    (log,) = recipe.out.glob("*.log")
    assert printed[0] == ""
    assert "(RuntimeError: as it happens)" in printed[1]
    assert str(log) in printed[1]
    assert printed[1].count("\n") == 1
    assert "in fail" in log.read_text()


def test_a_mistake_that_all_ranks_see_is_told_once_and_at_once(tmp_path: Path) -> None:
    """Ranks that nothing of ours has launched, such as SLURM's, which would kill them after a minute."""
    recipe = write(tiny("gpt2", tmp_path / "run"), tmp_path / "recipe.yaml")
    command = [sys.executable, "-m", "apollo_ds", "train", recipe, "nosuch=1"]
    shared = {**environment(), "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1"}
    began = time.monotonic()
    ranks = [
        subprocess.Popen(
            command, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE, text=True
        )
        for rank in range(3)
    ]
    printed = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert time.monotonic() - began < 40
    assert [rank.returncode for rank in ranks] == [EXIT_USER_ERROR] * 3
    assert "".join(printed).count("unknown key nosuch") == "".join(printed).count("\n") == 1


_ABORTING = """
import atexit, os, sys
from apollo_ds.__main__ import main

atexit.register(os.abort)
main(["train", *sys.argv[1:]])
"""


def test_a_rank_that_is_done_does_not_wait_for_python_s_end(tmp_path: Path) -> None:
    """In which threads of libraries abort a process now and then, and a finished run would have failed."""
    recipe = tiny("gpt2", tmp_path / "run", method="scratch", steps=2, peak_flops=1e9)
    done = subprocess.run(
        [sys.executable, "-c", _ABORTING, write(recipe, tmp_path / "recipe.yaml")],
        env={**environment(), "WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "finished" in done.stdout
