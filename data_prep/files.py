"""Files that are complete or absent, their hashes, JSON that knows its own hash, and a lock."""

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
"""Suffix of the names of files that are being written."""
HASH = "hash"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system without locks answers: Lustre mounted without `flock`, NFS without its lock service."""

Description: TypeAlias = dict[str, int | str]
"""The size of a file, `bytes`, and its 64-bit XXH3 hash, `xxh3`."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file that takes its place in one step: whoever looks sees all of it or none.

    It is on disk before it has its name. A link of that name is replaced; what it names is left alone.
    Processes that write the same file at the same time do not disturb each other.
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
    """A name beside a path that no other process or thread has, on any machine."""
    # containers may share the name of their host, and have equal process numbers
    return path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}{UNFINISHED}")


def remove_unfinished(path: Path) -> None:
    """Remove what processes that were killed have left of their own of a file. Nobody else may be writing it."""
    for left_over in path.parent.glob(f"{glob.escape(path.name)}.*-[0-9]*{UNFINISHED}"):
        left_over.unlink(missing_ok=True)


def copy(source: Path, target: Path) -> None:
    """Copy a file's content in one step."""
    with replacing(target) as unfinished:
        shutil.copyfile(source, unfinished)


def let_others_read(path: Path) -> None:
    """Give a file the mode of any that this process makes beside it. Some libraries let its owner alone read it.

    Raises:
        OSError: it is somebody else's, or nothing can be written beside it.
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
    """Wait until all that is below a folder, with its name, is on disk; what links name is not looked at."""
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
    """A mapping from a JSON file, and whether the file has a hash of it, as `write_hashed` writes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a mapping in JSON, or differs from its hash.
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
    """The 128-bit XXH3 hash of a mapping that JSON can hold; neither the order of keys nor white space matters."""
    return xxhash.xxh3_128_hexdigest(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())


def lock(file: IO[str] | int, folder: Path, wait: bool = False, shared: bool = False) -> None:
    """Keep other processes out of a folder while a file is open that all of them lock.

    Those that share the lock keep out only those that do not. It ends with the process, however it ends. On a file
    system without locks there is none, and a line says so unless it would be shared.

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
    """Keep other processes out of a folder for a while, as `lock` does.

    Raises:
        Busy: another process has it.
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
    with suppress(OSError, ValueError):  # in a container, `most` may be above what the system allows
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
