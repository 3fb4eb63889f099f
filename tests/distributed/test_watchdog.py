"""A rank that hangs ends the job with every rank's stack; one that is slow is named."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from launching import environment
from ranks import pool
from recipes import tiny, write

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import EXIT_HANG
from apollo_ds.experiments.events import read_metrics
from apollo_ds.training.faults import watchdog
from apollo_ds.training.run import make_trainer

_PROGRAM = """
import sys, time
from apollo_ds.training.faults import watchdog
watchdog._GRACE_SECONDS = 0.5
watch = watchdog.Watchdog("rank 3")
watch._seconds = dict.fromkeys(watchdog.Limit, 60.0) | {{watchdog.Limit.{limit}: 1.0}}
watch.progress("start", watchdog.Limit.{limit})
watch.start()
def stuck_in_a_function():
    {hang}
for step in range(5):
    time.sleep(0.2)
    watch.progress(f"step {{step}}", watchdog.Limit.{limit})
stuck_in_a_function()
"""


@pytest.mark.parametrize(
    ("hang", "limit", "code"),
    [
        pytest.param("time.sleep(60)", "STEP", EXIT_HANG, id="waiting"),
        pytest.param("time.sleep(60)", "SETUP", EXIT_HANG, id="waiting in set-up"),
        # A regular expression that takes for ever does not let other threads run.
        pytest.param("import re; re.match('(a+)+b', 'a' * 60)", "SAVE", 1, id="holding the interpreter"),
    ],
)
def test_a_process_without_progress_prints_its_stack_and_ends(hang: str, limit: str, code: int) -> None:
    program = [sys.executable, "-c", _PROGRAM.format(hang=hang, limit=limit)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == code, ended.stderr
    assert "stuck_in_a_function" in ended.stderr
    if code == EXIT_HANG:
        assert "[rank 3] no progress for" in ended.stderr
        assert f"in step 4 ({watchdog.Limit[limit]} is 1); on" in ended.stderr


_RANKS = """
import sys, time
from apollo_ds.engine.engine import Engine
from apollo_ds.__main__ import main
from apollo_ds.training.faults import watchdog
watchdog._GRACE_SECONDS = 2.0
step = Engine.train_step
def stall(engine, batches, plans, *rest):
    if plans[0].step == 8 and engine.processes.rank == 1:
        the_stalled_rank()
    return step(engine, batches, plans, *rest)
def the_stalled_rank():
    time.sleep(600)
Engine.train_step = stall
main(["train", *sys.argv[1:]])
"""


def test_a_stalled_rank_ends_the_job_with_the_stacks_of_all(tmp_path: Path) -> None:
    recipe = tiny("gpt2", tmp_path / "run", steps=100, hang_seconds=10, peak_flops=1e9)
    script = tmp_path / "stall.py"
    script.write_text(_RANKS)
    command = ["deepspeed", "--num_accelerators", "2", "--master_port", environment()["MASTER_PORT"]]
    ended = subprocess.run(
        [*command, str(script), write(recipe, tmp_path / "recipe.yaml")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == EXIT_HANG, ended.stderr
    printed = ended.stderr.splitlines()
    for rank in range(2):
        stamp = re.compile(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d \[rank {rank}\] ")
        stack = "\n".join(line for line in printed if stamp.match(line))
        assert "no progress for" in stack, ended.stderr
        assert ("the_stalled_rank" in stack) == (rank == 1)


def test_a_launcher_that_hangs_before_there_are_ranks_ends_too(tmp_path: Path) -> None:
    recipe = tiny("gpt2", tmp_path / "run", data=tmp_path, setup_hang_seconds=1)
    os.mkfifo(tmp_path / "manifest.json")  # as on a network's folder that does not answer
    command = [sys.executable, "-m", "apollo_ds", "train", write(recipe, tmp_path / "recipe.yaml")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment(), check=False)
    assert ended.returncode == EXIT_HANG, ended.stderr
    assert "[launcher] no progress for" in ended.stderr


def train_with_a_slow_rank(processes: Processes, recipe: Recipe) -> None:
    run = make_trainer(recipe, processes)
    forward = run.engine.model.forward

    def slow_forward(*batch: Any) -> Any:
        if processes.rank == 1:
            time.sleep(0.5)
        return forward(*batch)

    run.engine.model.forward = slow_forward
    run.train()
    run.close()


def test_a_straggler_is_named(tmp_path: Path) -> None:
    recipe = tiny("gpt2", tmp_path / "run", method="scratch", steps=6, log_every=3)
    pool(2).run(train_with_a_slow_rank, recipe)
    first, second = (event for event in read_metrics(recipe.out / "metrics.jsonl") if event["event"] == "ranks")
    assert (first["step"], second["step"]) == (3, 6)
    assert second["slowest_rank"] == 1
    assert second["own_seconds"][1] >= 0.5 > second["own_seconds"][0]
    assert second["slowdown"] > 1.5
    assert second["memory_bytes"] > 1e8
    assert 0 < second["utilisation"] < 1
