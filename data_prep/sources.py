"""Find the text of the sources, and cut it into parts. A part is a piece of work.

The parts depend only on the sources, never on the number of workers.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from data_prep import files, parquet, prose, readers, text_files
from data_prep.did_you_mean import nearest
from data_prep.errors import DataError
from data_prep.span import FORMATS, WHOLE, Span, compression_of, kind_of

DOCS = "docs"
"""The word that users give for the embedded corpus."""
PART_BYTES = 32 << 20
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


@dataclass(frozen=True)
class Source:
    """A named origin of text. `location` is what the user typed."""

    name: str
    location: str


@dataclass(frozen=True)
class Part:
    """Spans of one source that are encoded together: about 32 MiB of text, or one shard of a hub data set."""

    source: str
    spans: tuple[Span, ...]

    @property
    def size(self) -> int:
        """The bytes to read. A shard of a hub data set counts as one full part."""
        return sum(span.size for span in self.spans)

    @cached_property
    def key(self) -> str:
        """A hash of the part's spans. It changes when one of their files does."""
        return files.key([self.source, *map(astuple, self.spans)])


def parse(arguments: list[str]) -> tuple[Source, ...]:
    """Read `[NAME=]LOCATION` arguments. The default name is the last part of the location.

    Raises:
        DataError: a location is empty, or two sources have the same name.
    """
    sources: list[Source] = []
    for argument in arguments:
        named = re.match(r"([\w-]+)=", argument)
        location = os.path.expanduser(argument[named.end() :] if named else argument)
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
        DataError: there is nothing to read, or a file lacks the column.
    """
    groups: list[list[Span]] = []
    room = 0
    for span in _spans(source, column, work):
        if not groups or span.size > room:
            groups.append([])
            room = PART_BYTES
        groups[-1].append(span)
        room -= span.size
    if not groups:
        raise DataError(f"{source.location}: holds no text: give a file that is not empty")
    next(readers.read(groups[0][0], column), None)  # a wrong column is reported before any work is done
    return [Part(source.name, tuple(group)) for group in groups]


def check_apart(sources: Sequence[Source]) -> None:
    """Check that no text is in two sources: it would be written twice.

    Raises:
        DataError: two sources have the same file, folder of files or data set.
    """
    owners: dict[text_files.Identity | str, Source] = {}
    for source in sources:
        read: Mapping[Any, str] = _files(source) or {source.location: source.location}
        for identity, path in read.items():
            first = owners.setdefault(identity, source)
            if first is not source:
                raise DataError(
                    f"--source {first.name}={first.location} and --source {source.name}={source.location} both read "
                    f"{path}, so its text would be written twice: leave it out of one; to have it twice, "
                    f"ask for --weight {first.name}=2"
                )


def check_outside(sources: Sequence[Source], out: Path) -> None:
    """Check that no source reads the folder that the build writes to. A build that is resumed would find more text.

    Raises:
        DataError: `out` is in a folder of a source.
    """
    for source in sources:
        above, below, _ = source.location.partition("**")
        if not (below or os.path.isdir(source.location)) or source.location == DOCS:
            continue
        if out.resolve().is_relative_to(Path(above).resolve()):
            raise DataError(
                f"--out {out} is in {above or '.'}, of which --source {source.name} reads all files: "
                "name a folder outside it"
            )


def left_out(source: Source) -> str | None:
    """One sentence that names files of a source's location that are not read. None if all are read."""
    found = None if source.location == DOCS else text_files.find(source.location)
    return f"{source.location}: {found.told}" if found and found.left_out else None


def stamp(source: Source) -> str:
    """A hash that changes when the source does. It is of its files' sizes and times, or of the installed packages."""
    if source.location == DOCS:
        return prose.fingerprint()
    try:
        return files.key([_file_stamp(path) for path in _files(source).values()])
    except OSError:  # a folder that could be read before, and now cannot
        return ""


def _spans(source: Source, column: str, work: Path) -> Iterator[Span]:
    if source.location == DOCS:
        yield from _text_spans("jsonl", str(_gather_docs(column, work)), prose.fingerprint())
        return
    paths = _files(source)
    if not paths:
        yield from _hub_spans(source)
    for path in paths.values():
        kind = kind_of(path)
        if kind == "parquet":
            yield from _parquet_spans(path, column)
        else:
            yield from _text_spans(str(kind), path, _file_stamp(path))


def _files(source: Source) -> dict[text_files.Identity, str]:
    """The files of a source, in order. The embedded corpus and data sets of the hub have none."""
    return {} if source.location == DOCS else text_files.find(source.location).paths


def _file_stamp(path: str) -> str:
    status = os.stat(path)
    return f"{status.st_size}-{status.st_mtime_ns}"


def _text_spans(kind: str, path: str, stamp: str) -> Iterator[Span]:
    """Cut a file by bytes. A compressed file is one span: it cannot be read from the middle."""
    size = os.path.getsize(path)
    if compression_of(path):
        yield Span(kind, path, 0, WHOLE, size, stamp)
        return
    for start in range(0, size, PART_BYTES):
        stop = min(start + PART_BYTES, size)
        yield Span(kind, path, start, stop, stop - start, stamp)


def _parquet_spans(path: str, column: str) -> Iterator[Span]:
    rows, size = parquet.size(path, column)
    count = min(rows, -(-size // PART_BYTES))
    for i in range(count):
        start, stop = rows * i // count, rows * (i + 1) // count
        yield Span("parquet", path, start, stop, size // count, _file_stamp(path))


def _hub_spans(source: Source) -> Iterator[Span]:
    if left_out(source) or not HUB_ID.fullmatch(source.location):
        raise DataError(f"{source.location}: {_nothing_read(source.location)}")
    from huggingface_hub import dataset_info

    try:
        revision = str(dataset_info(source.location.partition(":")[0]).sha)
        shards = readers.open_hub(source.location, revision).num_shards
    except Exception as error:  # the hub's client raises many classes, also those of its transport
        raise DataError(
            f"{source.location}: no such file or folder, and not readable from the hub "
            f"({type(error).__name__}): check the name and the network"
        ) from error
    for shard in range(shards):
        yield Span("hub", source.location, shard, shards, PART_BYTES, revision)


def _nothing_read(location: str) -> str:
    found = text_files.find(location)
    if found.left_out or os.path.isdir(location):
        return f"no file named {FORMATS} is there" + (f"; {found.told}" if found.left_out else "")
    folder, name = os.path.split(location.rstrip("/"))
    names = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
    near = nearest([os.path.join(folder, known) for known in names] + [DOCS], location)
    return "there is no such file or folder" + (f"; did you mean {near}?" if near and name else "")


def _gather_docs(column: str, work: Path) -> Path:
    path = work / f"docs-{prose.fingerprint()[:16]}.jsonl"
    if not path.exists():
        with files.replacing(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({column: text}) + "\n" for text in prose.documents())
    return path
