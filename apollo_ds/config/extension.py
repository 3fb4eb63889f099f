"""Give a run more steps than it was started with.

The result is the same as if the run had been planned with these steps from the start. So the run goes back to the last
checkpoint up to which both plans agree. With `wsd` this is the checkpoint at the start of the decay.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from apollo_ds.checkpoint.find import checkpoints_in, has_traces, verify
from apollo_ds.checkpoint.manifest import DamagedCheckpoint, read_manifest, step_of
from apollo_ds.checkpoint.prune import discard_from
from apollo_ds.config.recipe import Recipe
from apollo_ds.errors import UserError
from apollo_ds.schedule.agreement import steps_alike, trained_alike
from data_prep import files

_KEPT = ("config.yaml", "metrics.jsonl", "report", "export")
"""The files and folders of the ended run that are kept."""


def check_extension(folder: Path, before: Recipe, now: Recipe) -> Path | None:
    """The checkpoint in a run's folder from which the run can go on with more steps.

    None if the run never saved a checkpoint: it then begins anew.

    Raises:
        UserError: no checkpoint fits the new plan. The message says why, and what to do.
    """
    old, new = before.schedule(), now.schedule()
    if old.source != new.source:
        raise UserError(
            f"steps: method.source is not what the run in {folder} started from; use the one in {folder / _KEPT[0]}, "
            "or start another run with out=..."
        )
    if not has_traces(folder / "checkpoints"):
        return None  # it begins anew
    for checkpoint in checkpoints_in(folder / "checkpoints"):
        try:
            course, step = read_manifest(checkpoint).course, step_of(checkpoint)
        except DamagedCheckpoint:
            continue
        if trained_alike(old, new, step, course.stage_steps):
            return checkpoint
    raise UserError(
        f"steps: the run in {folder} was started with {before.steps:,} and cannot go on to {now.steps:,}, since a run "
        f"of {now.steps:,} would have trained differently until now: {_reason(folder, before, now)}"
    )


def extend(folder: Path, run: str | None, before: Recipe, now: Recipe) -> None:
    """Set a run's folder back to the checkpoint from which the run goes on. Its old end is kept there as `ended-STEP`.

    Raises:
        UserError: no checkpoint fits the new plan, or the checkpoint is damaged.
        OSError: the folder cannot be written to.
    """
    checkpoint = check_extension(folder, before, now)
    if checkpoint is None:
        return
    try:
        verify(checkpoint, run)
    except DamagedCheckpoint as damage:
        raise UserError(
            f"steps: {damage}, from which the run would go on; restore it, or remove {checkpoint} to go on from the "
            "one before"
        ) from None
    later = [step_of(other) for other in checkpoints_in(checkpoint.parent) if step_of(other) > step_of(checkpoint)]
    if later:
        _keep_end(folder, folder / f"ended-{max(later)}")
        discard_from(checkpoint.parent, step_of(checkpoint) + 1)


def _keep_end(folder: Path, aside: Path) -> None:
    if aside.exists():
        return
    unfinished = aside.with_name(f"{aside.name}{files.UNFINISHED}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    for path in filter(Path.exists, (folder / name for name in _KEPT)):
        if path.is_dir():
            shutil.copytree(path, unfinished / path.name)
        else:
            shutil.copy2(path, unfinished / path.name)
    files.sync_folder(unfinished)
    unfinished.rename(aside)


def _reason(folder: Path, before: Recipe, now: Recipe) -> str:
    """Say why two plans differ too early, and what to do."""
    old, new = before.schedule(), now.schedule()
    elsewhere = "or start another run with out=..."
    policies = {schedule.learning_rate.policy for schedule in (old, new)}
    if not policies <= {"wsd", "constant"}:
        return (
            f"with lr_schedule={new.learning_rate.policy} the learning rate of every step after the warm-up follows "
            f"from `steps`; branch off it with another schedule, branch_from={folder}@STEP lr_schedule=wsd, {elsewhere}"
        )
    (warm, _), (would_warm, of_steps) = old.warmup, new.warmup
    if warm != would_warm:
        return (
            f"its warm-up took {warm:,} steps, and would take {would_warm:,}; give warmup_fraction={warm / of_steps!r}"
        )
    alike = steps_alike(old, new, before.steps)
    there = ", ".join(_steps(folder)) or "none"
    return (
        f"the two differ from step {alike:,} on, and no checkpoint up to there is left (there are {there}); if the "
        "method has growths, give them the steps that they had, branch off a checkpoint with "
        f"branch_from={folder}@STEP, {elsewhere}"
    )


def _steps(folder: Path) -> Iterator[str]:
    for checkpoint in reversed(checkpoints_in(folder / "checkpoints")):
        yield str(step_of(checkpoint))
