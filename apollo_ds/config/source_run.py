"""Reading the run that `method.source` names: its newest sound checkpoint, its model and what it has spent."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from apollo_ds.checkpoint.find import newest_sound
from apollo_ds.checkpoint.manifest import read_manifest
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.recorded import read_recorded
from apollo_ds.errors import UserError
from apollo_ds.ranks import RankOf
from apollo_ds.schedule.source import SourceRun

Load = Callable[[Path], Recipe]
"""`config.load.load_resolved`, which reads the recipe of a run's config.yaml, and may have to read its source too."""


def source_of(folder: Path, out: Path, load: Load) -> SourceRun | dict[str, Any]:
    """The source run in `folder`.

    If the run in `out` has already started from it, what that run recorded counts, since the source may have changed or
    be gone. Otherwise the folder is read as it is now.
    """
    config = out / "config.yaml"
    if not config.is_file():
        return read_source(folder, load)
    method = read_recorded(config).recipe["method"]
    known = method.get("parts", [method])[0].get("source")
    return known if known and known["folder"] == str(folder) else read_source(folder, load)


def read_source(folder: Path, load: Load) -> SourceRun:
    """The run in a folder, at its newest sound checkpoint.

    Raises:
        UserError: it is no run, has no sound checkpoint, or has not come to its last stage.
    """
    config = folder / "config.yaml"
    if not config.is_file():
        raise UserError(f"method.source: {folder} is not a run folder: it has no config.yaml; name a run's")
    schedule, recorded = load(config).schedule(), read_recorded(config)
    place = RankOf.this_process()
    # Other ranks get the first one's recipe, so that a source of terabytes is not read by each of hundreds.
    reads_files = place is None or place.rank == 0
    checkpoint, complaints = newest_sound(folder / "checkpoints", run=recorded.run, reads_files=reads_files)
    if checkpoint is None:
        found = "; ".join(complaints) or "there is none"
        raise UserError(f"method.source: {folder} has no sound checkpoint ({found}); let the run save one")
    manifest = read_manifest(checkpoint)
    stage, last = manifest.course.stage, len(schedule.stages) - 1
    if stage < last:
        raise UserError(
            f"method.source: {checkpoint} is of stage {stage + 1} of {last + 1}, which trains another model than "
            "the last; let the run reach its last stage"
        )
    spent = manifest.totals
    return SourceRun(
        folder=folder,
        checkpoint=checkpoint,
        step=spent.step,
        steps=schedule.total_steps,
        shape=schedule.stages[-1].shape.model_copy(update={"num_layers": schedule.stages[-1].unique_layers}),
        tokenizer=recorded.tokenizer,
        spent=spent + schedule.source_run.spent if schedule.source_run else spent,
    )
