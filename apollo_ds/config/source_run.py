"""Read what `method.source`, `init_from` and `branch_from` of a recipe name: a run, a step of it, or a model."""

import os
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from apollo_ds.checkpoint.find import checkpoints_in, newest_sound, verify
from apollo_ds.checkpoint.manifest import DamagedCheckpoint, Manifest, read_manifest, step_of
from apollo_ds.config.not_a_run import not_a_run
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.recorded import Recorded, read_recorded
from apollo_ds.config.source_model import read_model
from apollo_ds.errors import UserError
from apollo_ds.ranks import RankOf
from apollo_ds.schedule.agreement import resumed
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.source import HF, BranchPoint, Source, SourceModel, SourceRun
from apollo_ds.schedule.totals import Totals

Load = Callable[[Path], Recipe]
"""The type of `config.load.load_resolved`, which reads the recipe of a run's config.yaml, and its source if needed."""
BRANCH = "branch_from"


class Reader:
    """Reads the sources that a recipe names.

    If the run in the recipe's folder has begun, what it has recorded counts: the source may be gone or changed.
    """

    def __init__(self, out: Path, load: Load) -> None:
        self._config = out / "config.yaml"
        self._load = load

    def read(self, key: str, text: str) -> Source | BranchPoint:
        """Read the source that a key names as `RUN`, `RUN@STEP`, or `hf:MODEL`.

        Raises:
            UserError: the key cannot have this source. The message names the key and the fix.
        """
        if not text.startswith(HF):
            text = os.path.expanduser(text)
        recipe = self._recipe
        known = _recorded(key, recipe) if recipe else None
        if known is not None and known.is_named(text):
            return known
        if key == BRANCH:
            return read_branch(text, self._load)
        if text.startswith(HF):
            try:
                return read_model(text.removeprefix(HF))
            except UserError as error:
                raise UserError(f"{key}: {error}") from None
        return read_source(text, self._load, key)

    def sizes(self) -> dict[str, Any] | None:
        """The sizes of the model that the run has recorded. None if the run has not begun."""
        recipe = self._recipe
        return recipe["model"] if recipe else None

    @property
    def _recipe(self) -> dict[str, Any] | None:
        return read_recorded(self._config).recipe if self._config.is_file() else None


def _recorded(key: str, recipe: dict[str, Any]) -> Source | BranchPoint | None:
    """The source that a started run has recorded under a key. None if there is none."""
    method = recipe["method"]
    values = method.get("parts", [method])[0].get("source") if key == "method.source" else recipe.get(key)
    if not values:
        return None
    kind = BranchPoint if key == BRANCH else SourceModel if "hf" in values else SourceRun
    return kind.model_validate(values)


class _At(NamedTuple):
    """An undamaged checkpoint of a run, and what the run's folder says about it."""

    folder: Path
    checkpoint: Path
    manifest: Manifest
    recorded: Recorded
    recipe: Recipe
    schedule: Schedule
    """The schedule under which the checkpoint was written."""

    @property
    def ended(self) -> tuple[int, ...]:
        """The steps at which stages ended early."""
        lengths, planned = self.schedule.stage_steps, self.recipe.schedule().stage_steps
        ends = zip(accumulate(lengths), lengths, planned, strict=True)
        return tuple(end for end, taken, most in ends if taken < most and end <= self.manifest.totals.step)

    @property
    def before(self) -> Totals:
        """The totals of the run's own source."""
        source = self.schedule.source
        return source.before if source else Totals()


def read_source(text: str, load: Load, key: str = "method.source") -> SourceRun:
    """Read the model of a run at its newest undamaged checkpoint, or at the step that follows an `@`.

    Raises:
        UserError: it is not a run, it has no such undamaged checkpoint, or it has not reached its last stage there.
    """
    at = _read(text, load, key)
    stage, last = at.manifest.course.stage, len(at.schedule.stages) - 1
    if stage < last:
        raise UserError(
            f"{key}: {at.checkpoint} is of stage {stage + 1} of {last + 1}, which trains another model than "
            "the last; let the run reach its last stage"
        )
    final = at.schedule.stages[-1]
    return SourceRun(
        folder=at.folder,
        checkpoint=at.checkpoint,
        step=at.manifest.totals.step,
        steps=at.schedule.total_steps,
        shape=final.shape.model_copy(update={"num_layers": final.unique_layers}),
        tokenizer=at.recorded.tokenizer,
        spent=at.manifest.totals + at.before,
        frozen=final.frozen,
        document_mask=at.recipe.document_mask,
        optimizer=at.recipe.optimizer.name,
    )


def read_branch(text: str, load: Load) -> BranchPoint:
    """Read the step of a run that `RUN@STEP` names.

    Raises:
        UserError: no step is named, it is not a run, it has no undamaged checkpoint of that step, or it learns a growth
            operator there.
    """
    if not text.rpartition("@")[2].isdecimal() or Path(text).is_dir():
        if text.startswith(HF):
            raise UserError(f"{BRANCH}: {text} is no run; name RUN@STEP here, or the model in init_from")
        raise UserError(f"{BRANCH}: {text} names no step; write RUN@STEP, such as {text.rstrip('@')}@500")
    at = _read(text, load, BRANCH)
    stage, step = at.schedule.stages[at.manifest.course.stage], at.manifest.totals.step
    if stage.learned_growth:
        raise UserError(
            f"{BRANCH}: at step {step:,} {at.folder} learns a growth operator, which is no model yet; branch before or "
            "after that stage"
        )
    assert at.recorded.run is not None  # `_read` has checked it
    return BranchPoint(
        folder=at.folder,
        checkpoint=at.checkpoint,
        run=at.recorded.run,
        step=step,
        shape=stage.shape,
        layers=stage.unique_layers,
        depths=stage.depth_distribution,
        shallowest=stage.shallowest,
        layer_map=stage.layer_map,
        frozen=stage.frozen,
        tied_gradients=stage.tied_gradients,
        seq_len=stage.seq_len,
        pool=stage.pool,
        feed_forward_rank=stage.feed_forward_rank,
        position=at.schedule.at(step).first_token + at.manifest.memory.skipped_tokens,
        ended=at.ended,
        learning_rate=at.schedule.at(step - 1).learning_rate,
        optimizer=at.recipe.optimizer.name,
        seed=at.recipe.seed,
        train=at.recorded.train,
        tokenizer=at.recorded.tokenizer,
        spent=at.manifest.totals,
        before=at.before,
    )


def _read(text: str, load: Load, key: str) -> _At:
    folder, step = _folder_and_step(text)
    config = folder / "config.yaml"
    if not config.is_file():
        if _is_model(folder):
            raise UserError(f"{key}: {folder} is a model that transformers saved, not a run; write {HF}{text}")
        raise UserError(f"{key}: {not_a_run(folder)}")
    recipe, recorded = load(config), read_recorded(config)
    if key == BRANCH and recorded.run is None:
        raise UserError(f"{key}: an earlier version wrote {config}, which does not say which run it is; start anew")
    checkpoint = _newest(folder, recorded.run, key) if step is None else _of_step(folder, step, recorded.run, key)
    manifest = read_manifest(checkpoint)
    schedule = resumed(recipe.schedule(), manifest.totals.step, manifest.course.stage_steps)
    number, taken = manifest.course.stage, manifest.totals.step
    if schedule.risen(number, taken, schedule.stages[number].evaluation_depth):
        raise UserError(
            f"{key}: at step {taken:,} of {folder} new layers are still rising, and another run would begin with their "
            "branches at full size; use a later step, when progressive_residual is over"
        )
    return _At(folder, checkpoint, manifest, recorded, recipe, schedule)


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _folder_and_step(text: str) -> tuple[Path, int | None]:
    folder, separator, step = text.rpartition("@")
    if not separator or not step.isdecimal() or Path(text).is_dir():
        return Path(text), None
    return Path(folder), int(step)


def _reads_files() -> bool:
    """Whether this process reads and checks the files of a source.

    Only the first rank does. The others get its recipe, so that hundreds of ranks do not each read terabytes.
    """
    place = RankOf.this_process()
    return place is None or place.rank == 0


def _newest(folder: Path, run: str | None, key: str) -> Path:
    checkpoint, complaints = newest_sound(folder / "checkpoints", run=run, reads_files=_reads_files())
    if checkpoint is None:
        found = "; ".join(complaints) or "there is none"
        raise UserError(f"{key}: {folder} has no sound checkpoint ({found}); let the run save one")
    return checkpoint


def _of_step(folder: Path, step: int, run: str | None, key: str) -> Path:
    checkpoint = folder / "checkpoints" / f"step-{step}"
    if not checkpoint.is_dir():
        steps = sorted(map(step_of, checkpoints_in(checkpoint.parent)))
        there = f"use one of {', '.join(map(str, steps))}" if steps else "let the run save one"
        raise UserError(f"{key}: {folder} has no checkpoint of step {step}; {there}")
    if _reads_files():
        try:
            verify(checkpoint, run)
        except DamagedCheckpoint as damage:
            raise UserError(f"{key}: {damage}; use another step's, or restore it") from None
    return checkpoint
