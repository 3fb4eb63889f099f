"""Whole runs on pooled ranks, and what they record."""

from pathlib import Path
from typing import Any

from apollo_ds.corpus import Corpus
from apollo_ds.data import BatchSource
from apollo_ds.engine import Processes
from apollo_ds.errors import UserError
from apollo_ds.metrics import read_metrics
from apollo_ds.progress import Progress
from apollo_ds.recipe import Recipe
from apollo_ds.run_folder import RunFolder
from apollo_ds.stopping import Stopped, StopRequest
from apollo_ds.trainer import Trainer

TIMELESS = {"seconds", "tokens_per_second", "peak_memory_bytes"}


def trainer(processes: Processes, recipe: Recipe, request: StopRequest | None = None) -> Trainer:
    """A trainer as `run` makes it."""
    processes.on_first(lambda: RunFolder(recipe.out).create(recipe))
    source = BatchSource(Corpus.open(recipe.data), recipe.model, recipe.seq_len, recipe.seed)
    return Trainer(recipe, processes, source, Progress(recipe.schedule(), shown=False), request)


def train(processes: Processes, recipe: Recipe) -> str | None:
    """Train to the end; the message if the run says that it cannot go on."""
    try:
        run = trainer(processes, recipe)
        run.train()
    except (UserError, Stopped) as error:
        return str(error)
    run.close()
    return None


def events(recipe: Recipe, kind: str) -> list[dict[str, Any]]:
    """What a run recorded of one kind, without what depends on the clock."""
    return [
        {key: value for key, value in event.items() if key not in TIMELESS}
        for event in read_metrics(Path(recipe.out) / "metrics.jsonl")
        if event["event"] == kind
    ]


def trained(recipe: Recipe) -> list[list[dict[str, Any]]]:
    """All that must be the same however often a run was stopped."""
    return [events(recipe, kind) for kind in ("step", "eval", "growth")]
