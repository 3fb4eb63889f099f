"""Whole runs on pooled ranks, and what they record."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from ranks import pool

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import Stopped, UserError
from apollo_ds.experiments.events import read_metrics
from apollo_ds.models.loss import LOGITS_AT_ONCE
from apollo_ds.training import run as training
from apollo_ds.training.trainer import Trainer

WSD: dict[str, Any] = {"method": "scratch", "lr_schedule": "wsd", "warmup_fraction": 0.1, "decay_fraction": 0.2}
"""What a run has beside `tiny`, so that its learning rate is level until a decay."""
TIMELESS = {"seconds", "tokens_per_second", "peak_memory_bytes"}


def train(processes: Processes, recipe: Recipe, stop_after: int | None = None) -> str | None:
    """Train to the end, or die without a word after a number of steps; the message of a run that cannot go on."""
    try:
        with training.make_trainer(recipe, processes) as trainer:  # closed after an error too, for the next test
            if stop_after is None:
                trainer.train()
            else:
                _train_and_die(trainer, stop_after)
    except (UserError, Stopped) as error:
        return str(error)
    return None


def _train_and_die(trainer: Trainer, stop_after: int) -> None:
    add = trainer.recorder.add

    def add_and_die(*arguments: Any) -> None:
        add(*arguments)
        if trainer.totals.step == stop_after:
            raise KeyboardInterrupt

    trainer.recorder.add = add_and_die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.train()


def train_in_chunks(processes: Processes, recipe: Recipe) -> None:
    """Train with logits of 24 positions at a time."""
    with patch.dict(LOGITS_AT_ONCE, cpu=24 * recipe.model.vocab_size):
        train(processes, recipe)


def train_with_interruptions(processes: Processes, recipe: Recipe, stops: list[int]) -> None:
    """Train, dying after each of these steps and starting again."""
    for stop in stops:
        train(processes, recipe, stop)
    train(processes, recipe)


def events(recipe: Recipe, kind: str) -> list[dict[str, Any]]:
    """What a run recorded of one kind, without what depends on the clock."""
    return [
        {key: value for key, value in event.items() if key not in TIMELESS}
        for event in read_metrics(Path(recipe.out) / "metrics.jsonl")
        if event["event"] == kind
    ]


def losses(recipe: Recipe) -> list[float]:
    """The training loss of each step."""
    return [event["loss"] for event in events(recipe, "step")]


def trained(recipe: Recipe) -> list[list[dict[str, Any]]]:
    """All that must be the same however often a run was stopped."""
    return [events(recipe, kind) for kind in ("step", "eval", "growth")]


def run_of(recipe: Recipe, stops: tuple[int, ...] = ()) -> Recipe:
    """A run on two ranks, perhaps with interruptions."""
    if stops:
        pool(2).run(train_with_interruptions, recipe, list(stops))
    else:
        assert pool(2).run(train, recipe) == [None, None]
    return recipe


def files_of(recipe: Recipe, step: int) -> dict[str, str]:
    """The hashes of all tensors of a checkpoint."""
    return json.loads((recipe.out / "checkpoints" / f"step-{step}" / "manifest.json").read_text())["files"]
