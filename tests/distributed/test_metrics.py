"""The speed that a run records."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ranks import pool
from recipes import tiny

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.experiments.events import read_metrics
from apollo_ds.training.run import make_trainer

_EVALUATION_SECONDS = 2.0


def train_with_slow_evaluations(processes: Processes, recipe: Recipe) -> None:
    run = make_trainer(recipe, processes)
    evaluate = run.engine.evaluate

    def slow_evaluate(*how: Any) -> float:
        time.sleep(_EVALUATION_SECONDS)
        return evaluate(*how)

    run.engine.evaluate = slow_evaluate  # type: ignore[method-assign]
    run.train()
    run.close()


def test_the_speed_of_steps_leaves_out_what_comes_between_them(tmp_path: Path) -> None:
    recipe = tiny("gpt2", tmp_path / "run", method="scratch", steps=20, log_every=5, eval_every=5)
    pool(1).run(train_with_slow_evaluations, recipe)
    recorded = read_metrics(recipe.out / "metrics.jsonl")
    last = [event for event in recorded if event["event"] == "step"][-1]
    assert last["seconds"] > 3 * _EVALUATION_SECONDS
    assert last["tokens_per_second"] > 5 * recipe.global_batch_size * recipe.seq_len / _EVALUATION_SECONDS


_ENDS_WHILE_A_DISK_HANGS = """
import os, sys, time
from pathlib import Path
from apollo_ds.training.metrics import Metrics
from apollo_ds.training.trackers.trackers import Trackers

os.fsync = lambda descriptor: time.sleep(1000)
folder = Path(sys.argv[1])
metrics = Metrics(folder, 0, Trackers(folder, {}, ["tensorboard"]))
metrics.write("step", step=1)
metrics.flush()
sys.exit(7)
"""


def test_a_disk_that_hangs_does_not_keep_a_process_from_ending(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", _ENDS_WHILE_A_DISK_HANGS, tmp_path], check=False, timeout=60)
    assert ended.returncode == 7
