"""Find the run folders that a command line names. A folder that holds runs stands for all of them."""

from collections.abc import Sequence
from pathlib import Path

from apollo_ds.config.not_a_run import not_a_run
from apollo_ds.errors import UserError

_SUGGESTED = 3
"""The most folders that a message suggests."""


def is_run(folder: Path) -> bool:
    """Whether a run has recorded anything in the folder."""
    return (folder / "metrics.jsonl").is_file()


def named_runs(folders: Sequence[Path]) -> list[Path]:
    """The run folders that these folders are or hold, in this order. The runs in one folder are ordered by name.

    Raises:
        UserError: a folder is not a run and holds none. The message says what it is.
    """
    return [run for folder in folders for run in _runs_of(folder)]


def _runs_of(folder: Path) -> list[Path]:
    if is_run(folder):
        return [folder]
    held = sorted(path.parent for path in folder.glob("*/metrics.jsonl"))
    if held:
        return held
    if not folder.is_dir():
        raise UserError(not_a_run(folder))
    deeper = sorted({str(path.parent.parent) for path in folder.glob("*/*/metrics.jsonl")})
    if deeper:
        raise UserError(f"{folder}: holds no runs itself; did you mean {' or '.join(deeper[:_SUGGESTED])}?")
    raise UserError(not_a_run(folder, "metrics.jsonl"))
