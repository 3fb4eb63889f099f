"""Find the files of a location: a file, the files of a folder at any depth, or the files that a glob matches."""

import glob
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from data_prep.errors import DataError
from data_prep.span import FORMATS, kind_of

NAMED = 5
_EVERYTHING_BELOW = "**"

Identity = tuple[int, ...]
"""Numbers that all names and links of a file have in common: device, inode, size and time of change. Some network disks
give two files the same inode."""


@dataclass(frozen=True)
class Found:
    """The files of a location, in the order of their paths.

    `paths` has each file that is read, once even if it has several links. `left_out` has the other paths. A path has
    its reason behind it, unless the reason is the file's name.
    """

    paths: dict[Identity, str]
    left_out: list[str]

    @property
    def told(self) -> str:
        """One sentence that names some of the files that are left out."""
        more = ", ..." if len(self.left_out) > NAMED else ""
        count = "1 file was" if len(self.left_out) == 1 else f"{len(self.left_out):,} files were"
        return f"{count} left out: {', '.join(self.left_out[:NAMED])}{more}"


def find(location: str) -> Found:
    """Find the files of a location. Hidden files are skipped.

    Raises:
        DataError: the location is a file of a kind that is not read, or a name is not UTF-8.
        OSError: a folder cannot be read.
    """
    pattern = os.path.join(glob.escape(location), _EVERYTHING_BELOW) if os.path.isdir(location) else location
    is_one = os.path.lexists(location) and pattern == location
    paths: dict[Identity, str] = {}
    left_out = []
    for path in [location] if is_one else sorted(set(_matches(pattern))):
        reason = _add(path, paths)
        if reason is not None:
            left_out.append(f"{path}{reason}")
    if is_one and left_out:
        raise DataError(f"{left_out[0]}: not a file that is read: {_advice(location)}")
    return Found(paths, left_out)


def _advice(path: str) -> str:
    if os.path.splitext(path)[1].lower() == ".json":  # some have one object a line, others one list
        return "name it .jsonl if it has an object a line, else make it so: jq -c '.[]' FILE.json > FILE.jsonl"
    return f"give one named {FORMATS}, or a folder of them"


def _add(path: str, paths: dict[Identity, str]) -> str | None:
    """Add a file. If it is not added, return the reason."""
    try:
        status = os.stat(path)
    except OSError:
        if os.path.islink(path):
            return " (a link to nothing)"
        raise
    if not stat.S_ISREG(status.st_mode):
        return " (a folder)" if stat.S_ISDIR(status.st_mode) else " (a pipe or device)"
    if kind_of(path) is None:
        return ""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DataError(f"{path!a} is not UTF-8: rename it, or leave it out") from None
    first = paths.setdefault(_identity(status), path)
    return None if first == path else f" (the same file as {first})"


def _matches(pattern: str) -> Iterator[str]:
    """The paths that a glob matches. Some may come twice.

    Python's `glob` can follow links without end. Here each folder is read once.
    """
    steps = pattern.split("/")
    if _EVERYTHING_BELOW not in steps:
        yield from glob.iglob(pattern)
        return
    at = steps.index(_EVERYTHING_BELOW)
    above, below = "/".join(steps[:at]), "/".join(steps[at + 1 :])
    for top in glob.glob(above or "/") if at else [""]:
        for folder in _folders(top) if os.path.isdir(top or ".") else ():
            if below:
                yield from _matches(os.path.join(glob.escape(folder), below))
            else:
                yield from (path for path in _visible(folder) if not os.path.isdir(path))


def _folders(top: str) -> Iterator[str]:
    """A folder and all folders below it. A folder with several links comes once."""
    seen: set[Identity] = set()
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        identity = _identity(os.stat(folder or "."))
        if identity not in seen:
            seen.add(identity)
            yield folder
            waiting += sorted(filter(os.path.isdir, _visible(folder)), reverse=True)


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _visible(folder: str) -> list[str]:
    return [os.path.join(folder, name) for name in os.listdir(folder or ".") if not name.startswith(".")]
