"""Find the checkpoint that a run resumes from, and check the metrics up to it."""

import json
from collections.abc import Iterator
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

from apollo_ds.checkpoint.choose import Choice, choose_checkpoint
from apollo_ds.config.deepspeed import precision
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.data.text import Text
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import UserError
from apollo_ds.experiments.events import is_as_recorded
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.source import BranchPoint
from apollo_ds.training.console import RunConsole
from apollo_ds.training.metrics import Metrics, NoMetrics
from data_prep.counted import counted


def find_start(
    folder: RunFolder, run: str, begins_at: int, processes: Processes, console: RunConsole, before: float = inf
) -> Choice | None:
    """Find the checkpoint to resume from, of a step below `before`. All ranks call it together.

    Returns None if the run begins at its first step, `begins_at`: 0, or the step at which it branches from another run.
    Warnings are printed.

    Raises:
        UserError: there are checkpoints but none is sound, or the metrics differ from what the run recorded. Every rank
            raises it.
    """
    choice = choose_checkpoint(folder.checkpoints, run, processes, before)
    if choice is None:
        if before == inf:
            processes.on_first(lambda: _check_fresh(folder.metrics, begins_at))
        return None
    manifest = choice.manifest
    doubt = processes.on_first(lambda: _check_recorded(folder.metrics, manifest.metrics_bytes, manifest.metrics_hash))
    for line in filter(None, (*choice.complaints, choice.doubt, doubt)):
        console.warn(line)
    return choice


def record_resume(
    choice: Choice,
    schedule: Schedule,
    ranks: int,
    zero_stage: int,
    metrics: Metrics | NoMetrics,
    console: RunConsole,
) -> None:
    """Record and print that a run resumes."""
    totals, stage = choice.manifest.totals, choice.manifest.course.stage
    metrics.write("resume", step=totals.step, ranks=ranks, zero_stage=zero_stage)
    console.say(
        f"resume {choice.folder} in stage {stage + 1} of {len(schedule.stages)} "
        f"(saved by {counted(len(choice.manifest.files), 'rank')}, now {ranks})"
    )


def record_start(recipe: Recipe, text: Text, ranks: int, zero_stage: int, metrics: Metrics | NoMetrics) -> None:
    """Record that a run begins, and the cost of the run or model that it starts from."""
    schedule = recipe.schedule()
    source = schedule.source
    metrics.write(
        "branch" if isinstance(source, BranchPoint) else "start",
        step=schedule.begins_at,
        ranks=ranks,
        precision=precision(recipe.deepspeed),
        zero_stage=zero_stage,
        unigram_entropy=text.unigram_entropy,
        **(source.cost if source else {}),
    )


def _check_recorded(path: Path, size: int, expected: str | None) -> str:
    """Compare metrics.jsonl with the length and the hash in a checkpoint, by `is_as_recorded`.

    Returns:
        A warning; empty if all is well.
    Raises:
        UserError: the file is shorter, has been changed, or cannot be read.
    """
    try:
        is_sound = is_as_recorded(path, size, expected)
    except FileNotFoundError:
        return f"{path}: is gone; the run goes on without the record of its steps up to here"
    if not is_sound:
        raise UserError(
            f"{path}: differs from what the run had recorded when it saved; restore it, or remove it to go on without "
            "the record of the steps up to here"
        )
    return ""


def _check_fresh(path: Path, begins_at: int) -> None:
    """Check that a run without checkpoints has never finished one.

    A second save only begins when the first is complete. So two records of a save mean that one checkpoint was
    complete. Saves up to step `begins_at` belong to the run that this one branches from.

    Raises:
        UserError: metrics.jsonl has records of more than one save.
    """
    saved: list[int] = []
    for event in _readable(path):
        if event.get("event") == "checkpoint":
            saved.append(event["step"])
        elif event.get("event") == "discard":  # a rollback to the beginning that was interrupted
            saved = [step for step in saved if step < event["step"]]
    saved = [step for step in saved if step > begins_at]
    if len(saved) > 1:
        raise UserError(
            f"{path.parent / 'checkpoints'}: is empty, but {path.name} tells of checkpoints at steps {saved[0]:,} to "
            f"{saved[-1]:,}; restore them, or use another folder with out=..."
        )


def _readable(path: Path) -> Iterator[dict[str, Any]]:
    with suppress(OSError):
        for line in path.read_bytes().split(b"\n"):
            with suppress(ValueError, RecursionError):
                event = json.loads(line)
                if isinstance(event, dict) and isinstance(event.get("step"), int):
                    yield event
