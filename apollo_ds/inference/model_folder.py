"""Find the model that a user names: a run's newest model, a run's model at a step, or any other saved model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from apollo_ds.checkpoint.export_manifest import DamagedExport, read_export_manifest
from apollo_ds.checkpoint.find import checkpoints_in
from apollo_ds.checkpoint.manifest import step_of
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import UserError


@contextmanager
def model_folder(name: str, step: int | None = None) -> Iterator[str | None]:
    """Give the `source` that `SavedModel.open` needs for a name. None if the name is not a run.

    For a run it is the folder `export`, if that holds the model of the step. By default this is the newest step that
    was saved. Otherwise the checkpoint is exported into a temporary folder, which is removed when the context ends.

    Raises:
        UserError: a step is given but the name is not a run, or the run has no undamaged checkpoint of the step.
    """
    run = RunFolder(Path(name))
    if not run.exists or (run.path / "config.json").is_file():
        if step is not None:
            raise UserError(f"--step: {name} is no run, and has no checkpoints; leave --step out, or name a run")
        yield None
    elif _is_exported(run, step):
        yield None
    else:
        from apollo_ds.training.export_run import export_run

        with TemporaryDirectory(prefix="apollo-ds-") as folder:
            export_run(run, Path(folder) / "export", step)
            yield str(Path(folder) / "export")


def _is_exported(run: RunFolder, step: int | None) -> bool:
    """Whether the run's own export is of the step. A damaged export counts, so that opening it reports the damage."""
    saved = [step_of(checkpoint) for checkpoint in checkpoints_in(run.checkpoints)]
    if not saved and step is None:
        return (run.export / "config.json").is_file()
    try:
        manifest = read_export_manifest(run.export)
    except DamagedExport:
        return step is None
    return manifest is not None and manifest.step == (saved[0] if step is None else step)
