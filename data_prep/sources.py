"""Where text comes from, and how it is cut into parts: the pieces of work.

Parts follow from the sources alone, never from the number of workers.
"""

import glob
import json
import os
import re
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path

from data_prep import files, prose, readers
from data_prep.errors import DataError
from data_prep.readers import Span

PART_BYTES = 32 << 20
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


@dataclass(frozen=True)
class Source:
    """A named origin of text; `location` is what the user typed."""

    name: str
    location: str


@dataclass(frozen=True)
class Part:
    """Spans of one source that are encoded together: about 32 MiB of text, or one shard of a hub data set."""

    source: str
    spans: tuple[Span, ...]

    @property
    def size(self) -> int:
        """Bytes to read; a shard of a hub data set counts as one full part."""
        return sum(span.size for span in self.spans)

    @cached_property
    def key(self) -> str:
        """A hash of what is read; it changes when a file does."""
        return files.key([self.source, *map(astuple, self.spans)])


def parse(arguments: list[str]) -> tuple[Source, ...]:
    """Read `[NAME=]LOCATION` arguments; a name defaults to the location's last component.

    Raises:
        DataError: an empty location, or two sources of one name.
    """
    sources: list[Source] = []
    for argument in arguments:
        named = re.match(r"([\w-]+)=", argument)
        location = argument[named.end() :] if named else argument
        if not location:
            raise DataError(f"--source {argument!r} is empty: give docs, a file, a folder, a glob or a hub id")
        name = named[1] if named else re.split(r"[.:*?]", os.path.basename(location.rstrip("/")))[0] or "source"
        if any(name == source.name for source in sources):
            raise DataError(f"two sources are named {name!r}: tell them apart by --source NAME=LOCATION")
        sources.append(Source(name, location))
    return tuple(sources)


def plan(source: Source, column: str, work: Path) -> list[Part]:
    """Cut a source into parts, in a fixed order.

    Args:
        source: what to read.
        column: the parquet column or JSON key that holds the text.
        work: the folder in which the embedded corpus is gathered.
    Raises:
        DataError: nothing to read there, or a file without the column.
    """
    groups: list[list[Span]] = []
    room = 0
    for span in _spans(source, column, work):
        if span.size > room:
            groups.append([])
            room = PART_BYTES
        groups[-1].append(span)
        room -= span.size
    if not groups:
        raise DataError(f"{source.location}: holds no text: give a file that is not empty")
    next(readers.read(groups[0][0], column), None)  # a wrong column is told before any work is done
    return [Part(source.name, tuple(group)) for group in groups]


def stamp(source: Source) -> str:
    """A hash that changes when the source does: of its files' sizes and times, or of the installed packages."""
    if source.location == "docs":
        return prose.fingerprint()
    return files.key([_file_stamp(path) for path in _files(source)])


def _spans(source: Source, column: str, work: Path) -> Iterator[Span]:
    if source.location == "docs":
        yield from _text_spans("jsonl", str(_gather_docs(column, work)), prose.fingerprint())
        return
    paths = _files(source)
    if not paths:
        yield from _hub_spans(source)
    for path in paths:
        kind = readers.kind_of(path)
        if kind == "parquet":
            yield from _parquet_spans(path, column)
        else:
            yield from _text_spans(str(kind), path, _file_stamp(path))


def _files(source: Source) -> list[str]:
    """List the files of a location: itself, those in a folder at any depth, or those that a glob matches."""
    location = source.location
    if os.path.isfile(location):
        if readers.kind_of(location) is None:
            raise DataError(f"{location}: not a .txt, .jsonl(.gz, .zst) or .parquet file")
        return [location]
    pattern = os.path.join(glob.escape(location), "**") if os.path.isdir(location) else location
    return sorted(p for p in glob.glob(pattern, recursive=True) if readers.kind_of(p) and os.path.isfile(p))


def _file_stamp(path: str) -> str:
    status = os.stat(path)
    return f"{status.st_size}-{status.st_mtime_ns}"


def _text_spans(kind: str, path: str, stamp: str) -> Iterator[Span]:
    """Cut by bytes; a compressed file cannot be entered in the middle and is one span."""
    size = os.path.getsize(path)
    if path.endswith((".gz", ".zst")):
        yield Span(kind, path, 0, readers.WHOLE, size, stamp)
        return
    for start in range(0, size, PART_BYTES):
        stop = min(start + PART_BYTES, size)
        yield Span(kind, path, start, stop, stop - start, stamp)


def _parquet_spans(path: str, column: str) -> Iterator[Span]:
    rows, size = readers.parquet_size(path, column)
    count = min(rows, -(-size // PART_BYTES))
    for i in range(count):
        start, stop = rows * i // count, rows * (i + 1) // count
        yield Span("parquet", path, start, stop, size // count, _file_stamp(path))


def _hub_spans(source: Source) -> Iterator[Span]:
    if not HUB_ID.fullmatch(source.location):
        raise DataError(f"{source.location}: no .txt, .jsonl(.gz, .zst) or .parquet file there")
    from huggingface_hub import dataset_info

    try:
        revision = str(dataset_info(source.location.partition(":")[0]).sha)
        shards = readers.open_hub(source.location, revision).num_shards
    except Exception as error:  # the hub's client raises those of its transport, too
        raise DataError(
            f"{source.location}: no such file or folder, and not readable from the hub "
            f"({type(error).__name__}): check the name and the network"
        ) from error
    for shard in range(shards):
        yield Span("hub", source.location, shard, shards, PART_BYTES, revision)


def _gather_docs(column: str, work: Path) -> Path:
    path = work / f"docs-{prose.fingerprint()[:16]}.jsonl"
    if not path.exists():
        with files.replacing(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({column: text}) + "\n" for text in prose.documents())
    return path
