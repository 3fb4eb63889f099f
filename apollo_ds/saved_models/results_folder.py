"""Choose the folder for results about a model. Nothing here imports torch."""

from pathlib import Path

from apollo_ds.config.run_folder import RunFolder


def results_folder(model: str, kind: str) -> Path:
    """The folder for results of a kind. It is in the run if the model is a run, else it is named after the model."""
    path = Path(model)
    for run in (path, path.parent):
        if path.is_dir() and RunFolder(run).exists:
            return run / kind
    return Path(kind) / path.resolve().name
