"""The folder of an export: which existing folders may be replaced, and how a new one appears all at once."""

import filecmp
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path

from apollo_ds.checkpoint.export_manifest import (
    CARD,
    NAME,
    DamagedExport,
    ExportManifest,
    read_export_manifest,
    verify_export,
)
from apollo_ds.errors import UserError
from data_prep import files

READ_BY_TRANSFORMERS = {".json", ".safetensors", ".bin", ".txt", ".model"}
OVERWRITE = "give --overwrite to replace it, or name another folder"
"""What a user can do if the folder already holds an export."""


class Replaces(Enum):
    """What an export may replace. Files that no export wrote always stay."""

    SAME = "an export with the same files"
    ANY_EXPORT = "any export of apollo_ds"
    OWN = "whatever is in the run's own export/, in which an earlier version left no manifest"


def check_replaceable(folder: Path, run: str | None, checkpoint: str, replaces: Replaces) -> ExportManifest | None:
    """Check that an export may be written to a folder. Returns the manifest of an export that is there, if any.

    Leftovers of exports that were killed on this machine are removed first.

    Args:
        folder: where the export will be written.
        run: the id of the exported run; None if its checkpoint does not state it, which equals no other run.
        checkpoint: the hash of the exported checkpoint, as in `ExportManifest.checkpoint`.
        replaces: what it may replace.
    Raises:
        UserError: the path is a file, cannot be read, or holds something other than an export that may be replaced.
    """
    try:
        _clear_leftovers(folder)
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return None
        if replaces is Replaces.OWN and (folder / "config.json").is_file():
            return None
        before = read_export_manifest(folder) if folder.is_dir() else None
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}; name another folder") from None
    except DamagedExport as damage:
        raise UserError(f"{damage}, so it may be another run's; remove {folder}, or name another folder") from None
    if before is None:
        raise UserError(f"{folder}: exists and is not an export of apollo_ds; name another folder")
    if replaces is Replaces.SAME:
        _check_same(folder, before, run, checkpoint)
    return before


def _check_same(folder: Path, before: ExportManifest, run: str | None, checkpoint: str) -> None:
    if run is None or before.run != run:
        raise UserError(f"{folder}: holds an export of another run; {OVERWRITE}")
    if before.checkpoint != checkpoint:
        raise UserError(f"{folder}: holds step {before.step:,} of this run; {OVERWRITE}")
    try:
        verify_export(folder)
    except DamagedExport as damage:
        raise UserError(f"{damage}; {OVERWRITE}") from None


def is_same_folder(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files, byte for byte."""
    if not one.is_dir():
        return False
    compared = filecmp.dircmp(one, other, ignore=[])
    names = compared.left_list
    return names == compared.right_list and filecmp.cmpfiles(one, other, names, shallow=False)[0] == names


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder, which replaces `folder` at the end of the block. Files of other origin are kept.

    The new folder is flushed to disk before it gets its name. After an error nothing has changed.
    """
    missing = [path for path in (folder.parent, *folder.parent.parents) if not path.exists()]
    unfinished, replaced = (_aside(folder, word) for word in ("new", "old"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir()
        yield unfinished
        files.sync_folder(unfinished)
        _swap(unfinished, folder, replaced)
        files.sync(folder.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        with suppress(OSError):
            for path in missing:
                path.rmdir()
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def keep_foreign(folder: Path, unfinished: Path) -> None:
    """Copy files that a person added to the old export, and a model card that a person changed, to the new folder."""
    if not folder.is_dir():
        return
    try:
        manifest = read_export_manifest(folder)
    except DamagedExport:
        manifest = None
    for path in folder.iterdir():
        ours = path.name in manifest.files if manifest else path.suffix in READ_BY_TRANSFORMERS
        if path.name == CARD:
            ours = (
                manifest is not None and manifest.card is not None and files.matches(path, manifest.card.model_dump())
            )
        elif path.name == NAME or (unfinished / path.name).exists():
            ours = True
        if ours:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, unfinished / path.name, symlinks=True)
        else:
            (unfinished / path.name).unlink(missing_ok=True)
            shutil.copy2(path, unfinished / path.name, follow_symlinks=False)


def _aside(folder: Path, word: str) -> Path:
    return folder.with_name(f"{folder.name}.{socket.gethostname()}-{os.getpid()}.{word}{files.UNFINISHED}")


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Rename the old folder, if there is one, out of the way, and give its name to the new one."""
    replaces = folder.exists()
    if replaces:
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if replaces:
            old.rename(folder)
        raise


def _clear_leftovers(folder: Path) -> None:
    """Remove the leftovers of killed exports. If one was killed between its two renames, restore the old folder."""
    name = re.compile(re.escape(f"{folder.name}.{socket.gethostname()}-") + rf"(\d+)\.(new|old){files.UNFINISHED}")
    for path in sorted(folder.parent.iterdir()) if folder.parent.is_dir() else ():
        found = name.fullmatch(path.name)
        if found and not _lives(int(found[1])):
            if found[2] == "old" and not folder.exists():
                path.rename(folder)
            else:
                shutil.rmtree(path)


def _lives(process: int) -> bool:
    if process == os.getpid():
        return False  # an earlier process with this number, which was killed
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it runs, and belongs to another user
    return True
