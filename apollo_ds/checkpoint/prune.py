"""Which checkpoints go: old ones, those of a course that went wrong, and what unfinished ones left.

A damaged checkpoint does not count among those that are kept, so it never takes a sound one's place.
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
    """Removes old checkpoints after each new one; it checks each that it counts once, its own not at all."""

    def __init__(self, folder: Path, run: str | None, keep: int, stays: Callable[[int], bool]) -> None:
        """The newest `keep` of a run (None: of any) stay, and those of steps that `stays` says."""
        self.folder = folder
        self.run = run
        self.keep = keep
        self.stays = stays
        self._is_sound: dict[str, bool] = {}

    def prune(self, newest: Path) -> None:
        """Remove what need not be kept now that `newest` is complete, and what unfinished checkpoints left.

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
    """Take a checkpoint's name away before its files, so that it is never there in part.

    Raises:
        OSError: it cannot be removed.
    """
    gone = checkpoint.with_name(f"{checkpoint.name}.removed{PARTIAL}")
    discard(gone)
    discard(checkpoint.rename(gone))


def discard(path: Path) -> None:
    """Remove a folder with all that is in it, or a file, or a link but not what it names; nothing if it is not there.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Give something a name under which nothing looks for it, such as `step-25.damaged`; returns the new path.

    Raises:
        OSError: it cannot be renamed.
    """
    aside, number = path.with_name(f"{path.name}{SET_ASIDE}"), 1
    while aside.exists() or aside.is_symlink():
        number += 1
        aside = path.with_name(f"{path.name}{SET_ASIDE}-{number}")
    return path.rename(aside)


def discard_from(folder: Path, step: int) -> None:
    """Remove the run's checkpoints of this step and later ones; set aside what only has such a name.

    Raises:
        OSError: one cannot be removed.
    """
    late = [checkpoint for checkpoint in checkpoints_in(folder) if step_of(checkpoint) >= step]
    if late and len(late) == len(checkpoints_in(folder)):
        (folder / "latest").unlink(missing_ok=True)  # the run may begin anew
    for checkpoint in late:
        try:
            read_manifest(checkpoint)
        except DamagedCheckpoint:
            set_aside(checkpoint)
        else:
            remove(checkpoint)
