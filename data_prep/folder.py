"""Tell, in the folder of shards, which files a build made itself. A build never writes over any other file."""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from data_prep import files
from data_prep.errors import DataError
from data_prep.manifest import NAME

WORK = "work"
_WRITTEN = ("train.bin", "train.idx", "validation.bin", "validation.idx", "tokenizer", "cache/verified.json")
"""The files and folders that a build writes beside its manifest."""
_INDEX = re.compile(r"(train|validation)-[0-9]{5}\.idx")
"""The names of the indexes that an adoption also writes."""
_BEGUN = "writing.json"
"""The file in OUT/work that exists once the build has begun to write shards."""
_OF_WORK = re.compile(
    r"lock|(options|writing|tasks)\.json(\..*\.tmp)?|docs-[0-9a-f]{16}\.jsonl(\..*\.tmp)?"
    r"|tokenizer-[0-9a-f]{32}(\.(.*\.)?tmp)?|parts-[0-9a-f]{16}"
)


def check_free(out: Path) -> None:
    """Check that a build in `out` would write over none but its own files.

    Raises:
        DataError: the build would write over other files. The message names them.
    """
    there = [name for name in _WRITTEN if holds_something(out / name)] + [path.name for path in _indexes(out)]
    has_begun = (out / WORK / _BEGUN).exists()  # looked at first: another process removes it once the manifest exists
    if there and not has_begun and not os.path.lexists(out / NAME):
        raise DataError(
            f"{out}: holds {', '.join(there)}, which this build did not make and leaves as they are: "
            "give another --out, or move them to another place"
        )


def begin_writing(out: Path, work: Path) -> None:
    """Record that files which are written to `out` from now on are the build's own.

    Raises:
        DataError: the build would write over other files.
    """
    check_free(out)
    for left_over in _indexes(out):  # by an adoption that was stopped
        left_over.unlink()
    files.write_hashed(work / _BEGUN, {})


def _indexes(out: Path) -> list[Path]:
    return sorted(path for path in out.glob("*.idx") if _INDEX.fullmatch(path.name))


def remove_work(work: Path) -> None:
    """Remove the files of a build that are no longer needed, and their folder if it holds no other files.

    If a file cannot be removed now, the next call removes it.
    """
    with suppress(OSError):
        for path in work.iterdir():
            if not _OF_WORK.fullmatch(path.name) or (path.name == "lock" and path.stat().st_size):
                continue
            path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
        work.rmdir()


def holds_something(path: Path) -> bool:
    """Whether the path is a file, or a folder with a file that is not hidden."""
    if path.is_dir():
        return any(not name.startswith(".") for name in os.listdir(path))
    return os.path.lexists(path)
