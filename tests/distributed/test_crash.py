"""A rank that fails says why and ends at once, also where parting from the other ranks would block."""

import subprocess
import sys
from pathlib import Path

from launching import environment
from recipes import tiny, write

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
        raise RuntimeError("out of memory")
    return step(engine, batches, plans, *rest)
Engine.train_step = fail
main(["train", *sys.argv[1:]])
"""


def test_a_failing_rank_is_not_held_up_by_the_others(tmp_path: Path) -> None:
    recipe = write(tiny("gpt2", tmp_path / "run", method="scratch", peak_flops=1e9), tmp_path / "recipe.yaml")
    shared = {**environment(), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, recipe],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        _, printed = ranks[1].communicate(timeout=120)
    finally:
        for rank in ranks:
            rank.kill()
    assert ranks[1].wait() == 1
    assert printed.count("[rank 1] RuntimeError: out of memory") == 1
