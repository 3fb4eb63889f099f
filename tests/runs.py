"""Whole runs on pooled ranks, and what they record."""

from pathlib import Path
from typing import Any

import pytest

from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.data.batches import BatchSource
from apollo_ds.data.corpus import Corpus
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import UserError
from apollo_ds.experiments.events import read_metrics
from apollo_ds.training.console import Progress
from apollo_ds.training.faults.stop_signal import Stopped, StopRequest
from apollo_ds.training.trainer import Trainer

TIMELESS = {"seconds", "tokens_per_second", "peak_memory_bytes"}


def trainer(processes: Processes, recipe: Recipe, request: StopRequest | None = None) -> Trainer:
    """A trainer as `run` makes it."""
    processes.on_first(lambda: RunFolder(recipe.out).create(recipe))
    source = BatchSource(Corpus.open(recipe.data), recipe.model, recipe.seq_len, recipe.seed)
    return Trainer(recipe, processes, source, Progress(recipe.schedule(), shown=False), request)


def train(processes: Processes, recipe: Recipe, stop_after: int | None = None) -> str | None:
    """Train to the end, or die without a word after a number of steps; the message of a run that cannot go on."""
    try:
        with trainer(processes, recipe) as run:
            if stop_after is None:
                run.train()
            else:
                _train_and_die(run, stop_after)
    except (UserError, Stopped) as error:
        return str(error)
    return None


def _train_and_die(run: Trainer, stop_after: int) -> None:
    add = run.recorder.add

    def add_and_die(*arguments: Any) -> None:
        add(*arguments)
        if run.totals.step == stop_after:
            raise KeyboardInterrupt

    run.recorder.add = add_and_die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run.train()


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
