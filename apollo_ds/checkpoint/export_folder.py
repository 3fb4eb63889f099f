"""The folder that an export is written to: which may be replaced, and how it is there whole or not at all."""

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
"""What a user can do about an export that is there."""


class Replaces(Enum):
    """What an export may take the place of. Files that no export wrote stay in any case."""

    SAME = "an export with the same files"
    ANY_EXPORT = "any export of apollo_ds"
    OWN = "whatever is in the run's own export/, in which an earlier version left no manifest"


def check_replaceable(folder: Path, run: str | None, checkpoint: str, replaces: Replaces) -> ExportManifest | None:
    """Refuse to write to a folder that holds what this export may not replace. Returns what an export there says.

    What exports to it left that were killed on this machine is cleared away first.

    Args:
        folder: where an export is to be.
        run: which run the export is of; None where its checkpoint does not say, and then no other is the same run's.
        checkpoint: which checkpoint, as `ExportManifest.checkpoint`.
        replaces: what it may replace.
    Raises:
        UserError: it is a file, holds no export of this project, or another one than it may, or cannot be read.
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
    """Where to write a folder that takes its place when it is complete; what an export did not write there stays.

    It is on disk before it has its name. After an error everything is as it was.
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
    """Copy what somebody added to an export or changed of its card beside the files that take its place."""
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
    """Give the new folder its name, and the old one, if there is one, another."""
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
    """Remove what killed exports wrote. One that was killed between two renames gives the old back."""
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
        return False  # a process of this number was killed
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True
