"""Whole runs inside a pool of ranks, and what they recorded."""

from typing import Any

import pytest

from apollo_ds.corpus import Corpus
from apollo_ds.data import BatchSource
from apollo_ds.engine import Processes
from apollo_ds.metrics import read_metrics
from apollo_ds.progress import Progress
from apollo_ds.recipe import Recipe
from apollo_ds.run_folder import RunFolder
from apollo_ds.trainer import Trainer


def train(processes: Processes, recipe: Recipe, stop_after: int | None = None) -> None:
    """Train as `run` does, or die without a word after a number of steps."""
    if processes.is_first:
        RunFolder(recipe.out).create(recipe)
    processes.barrier()
    source = BatchSource(Corpus.open(recipe.data), recipe.model, recipe.seq_len, recipe.seed)
    trainer = Trainer(recipe, processes, source, Progress(recipe.schedule(), shown=False))
    if stop_after is not None:
        add = trainer.recorder.add

        def add_and_die(*arguments: Any) -> None:
            add(*arguments)
            if trainer.totals.step == stop_after:
                raise KeyboardInterrupt

        trainer.recorder.add = add_and_die
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
        trainer.engine.close()
        return
    trainer.train()
    trainer.close()


def train_with_interruptions(processes: Processes, recipe: Recipe, stops: list[int]) -> None:
    """Train, dying after each of these steps and starting again."""
    for stop in stops:
        train(processes, recipe, stop)
    train(processes, recipe)


def events(recipe: Recipe, kind: str) -> list[dict[str, Any]]:
    """The events of a kind, without what clocks and the machine decide."""
    timeless = ("seconds", "tokens_per_second", "peak_memory_bytes")
    return [
        {key: value for key, value in event.items() if key not in timeless}
        for event in read_metrics(recipe.out / "metrics.jsonl")
        if event["event"] == kind
    ]


def losses(recipe: Recipe) -> list[float]:
    """The training loss of each step."""
    return [event["loss"] for event in events(recipe, "step")]
