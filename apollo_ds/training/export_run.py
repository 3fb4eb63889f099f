"""Export a run's model for `transformers`: choose the checkpoint, find the tokenizer, and check the folder."""

import logging
from dataclasses import dataclass
from pathlib import Path

from apollo_ds.checkpoint.export import export
from apollo_ds.checkpoint.export_folder import Replaces
from apollo_ds.checkpoint.find import checkpoints_in, newest_sound, verify
from apollo_ds.checkpoint.manifest import DamagedCheckpoint
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.config.load import load_resolved
from apollo_ds.config.not_a_run import not_a_run
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.recorded import read_recorded
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.data.text import Text, folders_of
from apollo_ds.errors import UserError
from apollo_ds.experiments.model_card import model_card
from apollo_ds.experiments.trained_model import TrainedModel
from apollo_ds.schedule.agreement import resumed

_log = logging.getLogger(__name__)
_ATTEMPTS = 5
"""The most attempts to read a checkpoint. A run in training may remove a checkpoint while it is read; then the next is
chosen."""


@dataclass(frozen=True)
class ExportedRun:
    """What an export has done."""

    checkpoint: Path
    """The checkpoint that was exported."""
    is_new: bool
    """Whether any file in the folder has changed."""
    keeps_card: bool
    """Whether the folder has a model card that a person wrote or changed. Such a card is kept."""


def export_run(
    run: RunFolder,
    folder: Path,
    step: int | None = None,
    overwrite: bool = False,
    license: str | None = None,
    name: str | None = None,
) -> ExportedRun:
    """Export a run's checkpoint of this step, or its newest sound one, with a model card.

    Args:
        run: the folder of the run.
        folder: where to write. The run's own `export` may be replaced. Another export may only be replaced if its files
            are the same.
        step: the step of the checkpoint; None for the newest sound one.
        overwrite: whether any export of apollo_ds may be replaced.
        license: the license for the model card; None to state none.
        name: the model's name on the hub; None if it is not uploaded.
    Raises:
        UserError: there is no such checkpoint, it is damaged, the tokenizer is not the run's, or the folder cannot be
            written to or holds something that may not be replaced.
    """
    if not run.exists:
        raise UserError(not_a_run(run.path))
    for parent in folder.resolve().parents:
        if RunFolder(parent.parent).exists and RunFolder(parent.parent).checkpoints == parent:
            raise UserError(f"{folder}: is among a run's checkpoints, which the run removes; name another folder")
    replaces = Replaces.ANY_EXPORT if overwrite else Replaces.SAME
    if folder.resolve() == run.export.resolve():
        replaces = Replaces.OWN
    recorded, recipe = read_recorded(run.config), load_resolved(run.config)
    text = _text_of(run, recipe, recorded.tokenizer)
    for _ in range(_ATTEMPTS):
        chosen = _choose(run, recorded.run, step)
        try:
            state = SavedState(verify(chosen, recorded.run)).hold()
        except (DamagedCheckpoint, OSError, UserError) as damage:
            if chosen.is_dir():
                raise UserError(f"{damage}; choose another with --step") from None
            continue
        manifest = state.manifest
        schedule = resumed(recipe.schedule(), manifest.totals.step, manifest.course.stage_steps)
        stage = schedule.stages[manifest.course.stage]
        risen = schedule.risen(manifest.course.stage, manifest.totals.step, stage.evaluation_depth)
        record = (manifest.metrics_bytes, manifest.metrics_hash)
        model = TrainedModel(run.path, recorded, recipe, text, schedule, manifest.totals, *record)
        try:
            card = model_card(model, license, name)
            done = export(state, stage, text.vocabulary, folder, replaces, risen, card)
        finally:
            state.close()
        return ExportedRun(chosen, done.is_new, done.keeps_card)
    raise UserError(
        f"{run.checkpoints}: the run removes its checkpoints faster than they are read; export when it has ended, or "
        "resume it with a greater keep_checkpoints"
    )


def _choose(run: RunFolder, identity: str | None, step: int | None) -> Path:
    chosen: Path | None = run.checkpoints / f"step-{step}"
    complaints: list[str] = []
    if step is None:
        chosen, complaints = newest_sound(run.checkpoints, run=identity)
    if chosen is not None and chosen.is_dir():
        for complaint in complaints:
            _log.warning("%s; %s is exported instead", complaint, chosen.name)
        return chosen
    if complaints:
        raise UserError(f"{run.checkpoints}: no checkpoint is sound ({'; '.join(complaints)}); let the run save one")
    saved = [path.name for path in checkpoints_in(run.checkpoints)]
    raise UserError(f"{run.checkpoints}: no such checkpoint; there are {', '.join(saved) or 'none'}")


def _text_of(run: RunFolder, recipe: Recipe, recorded: str | None) -> Text:
    """Open the run's text. Its tokenizer must be the one that the run was trained with."""
    for data in folders_of(recipe.data):
        if not (data / "manifest.json").is_file():
            for folder in run.path.resolve().parents:
                if (folder / data / "manifest.json").is_file():
                    raise UserError(f"data: there is no {data} in {Path.cwd()}; run the command in {folder}")
            there = "" if data.is_absolute() else ", or run the command in the folder that the run was started in"
            raise UserError(f"data: {data} is gone, and the model's tokenizer with it; restore it{there}")
    text = Text.open(recipe.data)
    if recorded not in (None, text.vocabulary.tokenizer_hash):
        raise UserError(
            f"data: {text.vocabulary.tokenizer_folder} is not the tokenizer that {run.path} was trained with; restore "
            "the text that the run read"
        )
    return text
