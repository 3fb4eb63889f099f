"""Files that are complete or absent, their hashes, and a lock."""

import fcntl
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash

from data_prep.errors import Busy

BLOCK_BYTES = 1 << 22


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file that takes its place in one step: whoever looks sees all of it or none.

    Processes that write the same file at the same time do not disturb each other.
    """
    unfinished = path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}.tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file in one step."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder for a while; the lock ends with the process, however it ends.

    Raises:
        Busy: another process has it.
    """
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(f"{folder}: another run works there: wait until it ends or give another --out") from error
        yield


def describe(path: Path) -> dict[str, int | str]:
    """The size of a file and its 64-bit XXH3 hash, as the manifest lists them."""
    digest = xxhash.xxh3_64()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return {"bytes": path.stat().st_size, "xxh3": digest.hexdigest()}


def key(value: Any) -> str:
    """A 128-bit hash of a value that JSON can hold, in hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(json.dumps(value).encode())


def matches(path: Path, description: dict[str, int | str]) -> bool:
    """Whether a file is there and is the one described."""
    return path.exists() and describe(path) == description


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
