"""Write files so that they are complete or absent; hash them; write JSON with its own hash; lock a folder."""

import errno
import fcntl
import glob
import hashlib
import json
import logging
import os
import resource
import secrets
import shutil
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeAlias

import xxhash

from data_prep.errors import Busy

_log = logging.getLogger(__name__)
BLOCK_BYTES = 1 << 22
UNFINISHED = ".tmp"
"""The suffix of files that are being written."""
HASH = "hash"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""The errors of a file system without locks: Lustre mounted without `flock`, or NFS without its lock service."""

Description: TypeAlias = dict[str, int | str]
"""The size of a file, `bytes`, and its 64-bit XXH3 hash, `xxh3`."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and rename it to `path` at the end: a reader sees the whole file or none.

    The content is on disk before the file gets its name. If `path` is a link, the link is replaced, and the file that
    it names is not touched. Processes that write the same file at the same time do not disturb each other.
    """
    unfinished = own_unfinished(path)
    try:
        yield unfinished
        sync(unfinished)
        unfinished.replace(path)
        sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def own_unfinished(path: Path) -> Path:
    """A path in the same folder that no other process or thread uses, on any machine."""
    # containers can share a host name, and can have equal process numbers
    return path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}{UNFINISHED}")


def remove_unfinished(path: Path) -> None:
    """Remove unfinished versions of a file that killed processes left. No process may be writing the file."""
    for left_over in path.parent.glob(f"{glob.escape(path.name)}.*-[0-9]*{UNFINISHED}"):
        left_over.unlink(missing_ok=True)


def copy(source: Path, target: Path) -> None:
    """Copy a file's content in one step."""
    with replacing(target) as unfinished:
        shutil.copyfile(source, unfinished)


def let_others_read(path: Path) -> None:
    """Give a file the usual permissions of a new file. Some libraries write files that only their owner can read.

    Raises:
        OSError: the file is somebody else's, or nothing can be written beside it.
    """
    usual = own_unfinished(path)  # asking the process for its umask would change it, for all of its threads
    usual.touch()
    try:
        path.chmod(stat.S_IMODE(usual.stat().st_mode))
    finally:
        usual.unlink()


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until all files and folders below a folder are on disk. Links are not followed."""
    for path in (*folder.rglob("*"), folder):
        if not path.is_symlink():
            sync(path)


def write_text(path: Path, text: str) -> None:
    """Write a file in one step."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file in one step."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError("brackets within brackets, thousands deep") from None


def write_hashed(path: Path, values: Mapping[str, Any]) -> None:
    """Write a mapping as JSON in one step, with a hash of itself as the last key."""
    write_json(path, {**values, HASH: hash_of_values(values)})


def read_hashed(path: Path) -> tuple[dict[str, Any], bool]:
    """Read a JSON file as `write_hashed` writes it. Return its mapping, and whether the file had a hash.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not a mapping in JSON, or the mapping differs from its hash.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise ValueError("not a mapping")
    if HASH not in values:
        return values, False
    if values.pop(HASH) != hash_of_values(values):
        raise ValueError("differs from its hash")
    return values, True


def hash_of_values(values: Mapping[str, Any]) -> str:
    """The 128-bit XXH3 hash of a mapping that JSON can hold. The order of its keys does not matter."""
    return xxhash.xxh3_128_hexdigest(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())


def lock(file: IO[str] | int, folder: Path, wait: bool = False, shared: bool = False) -> None:
    """Keep other processes out of a folder by a lock on an open file. All of them have to lock the same file.

    Processes with `shared` do not keep each other out, but keep out those without. The lock ends with the process,
    however that ends. On a file system without locks nobody is kept out, and unless `shared` is set a line says so.

    Raises:
        BlockingIOError: another process has the lock, and `wait` is not set.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        if not shared:
            _say_that_nothing_locks(folder)


@cache
def _say_that_nothing_locks(folder: Path) -> None:
    _log.warning(
        "%s: its file system has no locks, so that nothing keeps a second job out: start no other one there until this "
        "one ends",
        folder,
    )


@contextmanager
def locked(folder: Path, shared: bool = False) -> Iterator[None]:
    """Keep other processes out of a folder while the context lasts, as `lock` does.

    Raises:
        Busy: another process has locked the folder.
    """
    with (folder / "lock").open("a") as file:
        try:
            lock(file, folder, shared=shared)
        except BlockingIOError as error:
            raise Busy(f"{folder}: another run works there: wait until it ends or give another --out") from error
        yield


def raise_limit() -> None:
    """Let this process open as many files as the hard limit allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # in a container, `most` can be more than the system allows
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def describe(path: Path) -> Description:
    """The size of a file and its hash, as the manifest lists them."""
    digest = xxhash.xxh3_64()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return {"bytes": path.stat().st_size, "xxh3": digest.hexdigest()}


def key(value: Any) -> str:
    """A 128-bit hash of a value that JSON can hold, in hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(json.dumps(value).encode())


def matches(path: Path, description: Description) -> bool:
    """Whether a file is there and is the one described."""
    return path.is_file() and describe(path) == description


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
