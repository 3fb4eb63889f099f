"""A run on two ranks and its trackers: the first rank tells them, and one that fails changes nothing."""

import time
from pathlib import Path
from typing import ClassVar
from unittest.mock import patch

from ranks import pool
from recipes import tiny
from runs import train, train_with_interruptions, trained
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.training.trackers.point import Point
from apollo_ds.training.trackers.tracker import TrackedRun
from apollo_ds.training.trackers.trackers import _TRACKERS


class Failing:
    """Fails in the middle of the run."""

    needs_id: ClassVar[bool] = False

    def start(self, run: TrackedRun) -> str:
        return ""

    def record(self, point: Point) -> None:
        if point.step > 5:
            raise ConnectionError("the network is gone")

    def flush(self) -> None:
        """Nothing waits."""

    def close(self, is_finished: bool) -> None:
        raise AssertionError("is off")


def train_with_one_that_fails(processes: Processes, recipe: Recipe) -> str | None:
    with patch.dict(_TRACKERS, wandb=Failing):
        return train(processes, recipe)


class Slow(Failing):
    """Takes a second to send what is left."""

    def record(self, point: Point) -> None:
        """Nothing fails."""

    def close(self, is_finished: bool) -> None:
        time.sleep(1)
        (self.folder / "sent").touch()

    def start(self, run: TrackedRun) -> str:
        self.folder = run.folder
        return ""


def train_with_a_slow_one(processes: Processes, recipe: Recipe) -> bool:
    with patch.dict(_TRACKERS, wandb=Slow):
        train(processes, recipe)
    return (recipe.out / "sent").exists()


def test_no_rank_leaves_before_the_first_has_told_all(tmp_path: Path) -> None:
    assert pool(2).run(train_with_a_slow_one, tiny("gpt2", tmp_path, trackers=["wandb"])) == [True, True]


def test_a_run_that_was_stopped_twice_is_one_run_with_each_step_once(tmp_path: Path) -> None:
    recipe = tiny("gpt2", tmp_path / "run")
    pool(2).run(train_with_interruptions, recipe, [7, 13])
    assert [path.parent for path in recipe.out.rglob("*tfevents*")] == [recipe.out]
    recorded = EventAccumulator(str(recipe.out))
    recorded.Reload()
    tokens = recipe.global_batch_size * recipe.seq_len
    for group, unit in (("loss", 1), ("loss_by_tokens", tokens)):
        assert [point.step for point in recorded.Scalars(f"{group}/train")] == [unit * n for n in range(1, 21)]
        assert [point.step for point in recorded.Scalars(f"{group}/held_out")] == [unit * n for n in (10, 20)]
    assert [text.step for text in recorded.Tensors("growth/text_summary")] == [5, 10]


def test_one_that_fails_changes_nothing_in_a_run(tmp_path: Path) -> None:
    whole = tiny("gpt2", tmp_path / "whole")
    tracked = tiny("gpt2", tmp_path / "tracked", trackers=["wandb"])
    pool(2).run(train, whole)
    assert pool(2).run(train_with_one_that_fails, tracked) == [None, None]
    assert trained(tracked) == trained(whole)
