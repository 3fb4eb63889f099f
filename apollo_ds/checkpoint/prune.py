"""Remove checkpoints: old ones, those that a rollback has made invalid, and leftovers of unfinished ones.

A damaged checkpoint does not count as one of the kept ones, so no sound one is removed in its favour.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from apollo_ds.checkpoint.find import SET_ASIDE, checkpoints_in, verify
from apollo_ds.checkpoint.manifest import DamagedCheckpoint, read_manifest, step_of
from apollo_ds.errors import UserError

PARTIAL = ".partial"
"""Suffix of the names of incomplete checkpoints."""


class Pruner:
    """Removes old checkpoints after each new one.

    It verifies each checkpoint that it counts once, and never those that this process wrote.
    """

    def __init__(self, folder: Path, run: str | None, keep: int, stays: Callable[[int], bool]) -> None:
        """Keep the newest `keep` checkpoints of a run, and those whose step `stays` returns True for.

        Args:
            folder: where the run's checkpoints are.
            run: the id of the run; None to count checkpoints of any run.
            keep: how many of the newest stay.
            stays: whether the checkpoint of a step stays in any case.
        """
        self.folder = folder
        self.run = run
        self.keep = keep
        self.stays = stays
        self._is_sound: dict[str, bool] = {}

    def prune(self, newest: Path) -> None:
        """Remove old checkpoints now that `newest` is complete, and the leftovers of unfinished ones.

        Raises:
            OSError: something cannot be removed.
        """
        self._is_sound[newest.name] = True
        counted = 0
        for checkpoint in checkpoints_in(self.folder):
            if counted < self.keep:
                counted += self._counts(checkpoint)
            elif checkpoint != newest and not self.stays(step_of(checkpoint)):
                remove(checkpoint)
        for partial in self.folder.glob(f"step-*{PARTIAL}"):
            discard(partial)

    def _counts(self, checkpoint: Path) -> bool:
        if checkpoint.name not in self._is_sound:
            self._is_sound[checkpoint.name] = _is_sound(checkpoint, self.run)
        return self._is_sound[checkpoint.name]


def _is_sound(checkpoint: Path, run: str | None) -> bool:
    try:
        verify(checkpoint, run)
    except (DamagedCheckpoint, UserError):
        return False
    return True


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint. It is renamed first, so that no part of it is ever seen under its name.

    Raises:
        OSError: it cannot be removed.
    """
    gone = checkpoint.with_name(f"{checkpoint.name}.removed{PARTIAL}")
    discard(gone)
    discard(checkpoint.rename(gone))


def discard(path: Path) -> None:
    """Remove a file, or a folder with all of its contents, or a link but not its target. A missing path is no error.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename a checkpoint so that no search finds it, for example to `step-25.damaged`. Returns the new path.

    Raises:
        OSError: it cannot be renamed.
    """
    aside, number = path.with_name(f"{path.name}{SET_ASIDE}"), 1
    while aside.exists() or aside.is_symlink():
        number += 1
        aside = path.with_name(f"{path.name}{SET_ASIDE}-{number}")
    return path.rename(aside)


def discard_from(folder: Path, step: int) -> None:
    """Remove the checkpoints of this step and of later ones. Things that only have such a name are renamed.

    Raises:
        OSError: one cannot be removed.
    """
    late = [checkpoint for checkpoint in checkpoints_in(folder) if step_of(checkpoint) >= step]
    if late and len(late) == len(checkpoints_in(folder)):
        (folder / "latest").unlink(missing_ok=True)  # it would look like a trace of lost ones
    for checkpoint in late:
        try:
            read_manifest(checkpoint)
        except DamagedCheckpoint:
            set_aside(checkpoint)
        else:
            remove(checkpoint)
