"""Spans: the pieces that sources are cut into. And the format of a file, from its name."""

import re
from dataclasses import dataclass

WHOLE = 1 << 62
FORMATS = ".txt, .jsonl or .ndjson (also .gz, .zst or .bz2) or .parquet"
"""The suffixes of files that are read, in words."""
_NAME = re.compile(r"\.(?:(?P<lines>txt|jsonl|ndjson)(?:\.(?P<packed>gz|zst|bz2))?|parquet)$", re.IGNORECASE)
_KINDS = {"txt": "text", "jsonl": "jsonl", "ndjson": "jsonl", None: "parquet"}
_COMPRESSIONS = {"gz": "gzip", "zst": "zstd", "bz2": "bz2"}


@dataclass(frozen=True)
class Span:
    """A range of one file, and a stamp that changes when the file does.

    `start` and `stop` count bytes in a text or JSON-lines file, and rows in a parquet file. In a hub data set `start`
    is the number of a shard, and `stop` the number of shards. `size` is roughly how many bytes there are to read.
    """

    kind: str
    path: str
    start: int
    stop: int
    size: int
    stamp: str


def kind_of(path: str) -> str | None:
    """The format that a file's name shows: text, jsonl or parquet. None for a file that is not read."""
    name = _NAME.search(path)
    return _KINDS[name["lines"] and name["lines"].lower()] if name else None


def compression_of(path: str) -> str | None:
    """The compression that a file's name shows, by pyarrow's name for it. None for a plain file."""
    name = _NAME.search(path)
    return _COMPRESSIONS[name["packed"].lower()] if name and name["packed"] else None
