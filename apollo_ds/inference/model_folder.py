"""Where the model is that a user names: a run's as it is now, or at a step, or any other that `transformers` saved."""

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
    """What `SavedModel.open` takes as the source of a name; of a model that is no run's None.

    Of a run it is its `export`, if that is of the step, by default the newest that was saved. Otherwise the checkpoint
    is exported into a temporary folder, which is gone at the end.

    Raises:
        UserError: a step is given for what is no run, or the run has no such checkpoint that is sound.
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
    """Whether the run's own export is what is wanted. A damaged one is, so that whoever opens it says so."""
    saved = [step_of(checkpoint) for checkpoint in checkpoints_in(run.checkpoints)]
    if not saved and step is None:
        return (run.export / "config.json").is_file()
    try:
        manifest = read_export_manifest(run.export)
    except DamagedExport:
        return step is None
    return manifest is not None and manifest.step == (saved[0] if step is None else step)
