"""The pieces that sources are cut into, and what a file's name tells of its format."""

import re
from dataclasses import dataclass

WHOLE = 1 << 62
FORMATS = ".txt, .jsonl or .ndjson (also .gz, .zst or .bz2) or .parquet"
"""The names of files that are read."""
_NAME = re.compile(r"\.(?:(?P<lines>txt|jsonl|ndjson)(?:\.(?P<packed>gz|zst|bz2))?|parquet)$", re.IGNORECASE)
_KINDS = {"txt": "text", "jsonl": "jsonl", "ndjson": "jsonl", None: "parquet"}
_COMPRESSIONS = {"gz": "gzip", "zst": "zstd", "bz2": "bz2"}


@dataclass(frozen=True)
class Span:
    """A range of one file, and a stamp that changes when the file does.

    `start` and `stop` are bytes of a text or JSON-lines file, rows of a parquet file, or a shard number and
    the number of shards of a hub data set. `size` is about how many bytes there are to read.
    """

    kind: str
    path: str
    start: int
    stop: int
    size: int
    stamp: str


def kind_of(path: str) -> str | None:
    """The format that a file's name tells: text, jsonl or parquet. None for a file that is not read."""
    name = _NAME.search(path)
    return _KINDS[name["lines"] and name["lines"].lower()] if name else None


def compression_of(path: str) -> str | None:
    """The compression that a file's name tells, as pyarrow calls it, or None."""
    name = _NAME.search(path)
    return _COMPRESSIONS[name["packed"].lower()] if name and name["packed"] else None
