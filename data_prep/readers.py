"""Reading documents from spans of files, a few at a time: text, JSON lines, parquet and hub data sets."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow
import pyarrow.parquet

from data_prep.errors import DataError

TEXT_DOCUMENT_BYTES = 1 << 20
KINDS = {".txt": "text", ".jsonl": "jsonl", ".jsonl.gz": "jsonl", ".jsonl.zst": "jsonl", ".parquet": "parquet"}
BUFFER_BYTES = 1 << 20
ROWS_AT_ONCE = 64
BOM = b"\xef\xbb\xbf"
WHOLE = 1 << 62


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
    """The format that a file's name tells, or None."""
    return next((kind for suffix, kind in KINDS.items() if path.endswith(suffix)), None)


def read(span: Span, column: str) -> Iterator[str]:
    """Yield the documents of a span; a missing text is an empty document.

    Args:
        span: what to read.
        column: the parquet column or JSON key that holds the text.
    Raises:
        DataError: invalid UTF-8 or JSON, no such column, or a damaged file; file and line or row are named.
    """
    return READERS[span.kind](span, column)


def _read_text(span: Span, column: str) -> Iterator[str]:
    """A file is one document, or where it is longer several of about 1 MiB, cut at line ends."""
    lines: list[str] = []
    size = 0
    for offset, line in _lines(span):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError as error:
            raise _invalid_utf8(f"{span.path}: line {_line_number(span, offset)}") from error
        size += len(line)
        if size >= TEXT_DOCUMENT_BYTES:
            yield "".join(lines)
            lines, size = [], 0
    if lines:
        yield "".join(lines)


def _read_jsonl(span: Span, column: str) -> Iterator[str]:
    for offset, line in _lines(span):
        if line.isspace():
            continue
        try:
            row = json.loads(line)
        except UnicodeDecodeError as error:
            raise _invalid_utf8(f"{span.path}: line {_line_number(span, offset)}") from error
        except json.JSONDecodeError as error:
            where = f"{span.path}: line {_line_number(span, offset)}"
            raise DataError(f"{where} is not JSON ({error.msg}): write one JSON object a line") from error
        if not isinstance(row, dict) or not isinstance(row.get(column, 0), str | None):
            where = f"{span.path}: line {_line_number(span, offset)}"
            raise _wrong_column(where, column, list(row) if isinstance(row, dict) else [])
        yield (row[column] or "").encode(errors="replace").decode()  # JSON can hold halves of surrogate pairs


def _read_parquet(span: Span, column: str) -> Iterator[str]:
    try:
        with pyarrow.parquet.ParquetFile(span.path, pre_buffer=False, buffer_size=BUFFER_BYTES) as file:
            first = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if first < span.stop and span.start < first + rows:
                    yield from _read_row_group(file, group, first, span, column)
                first += rows
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise _unreadable(span.path, error) from error


def _read_row_group(file: pyarrow.parquet.ParquetFile, group: int, row: int, span: Span, column: str) -> Iterator[str]:
    """Decode few rows at a time: thousands of books of a megabyte each would not fit."""
    for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, row_groups=[group], columns=[column], use_threads=False):
        if row >= span.stop:
            return
        texts = batch.column(0)
        for i in range(max(span.start - row, 0), min(span.stop - row, len(texts))):
            try:
                yield texts[i].as_py() or ""
            except UnicodeDecodeError as error:
                raise _invalid_utf8(f"{span.path}: row {row + i}") from error
        row += len(texts)


def _read_hub(span: Span, column: str) -> Iterator[str]:
    rows = iter(open_hub(span.path, span.stamp).shard(num_shards=span.stop, index=span.start))
    while row := _next_of_hub(rows, span.path):
        if not isinstance(row.get(column, 0), str | None):
            raise _wrong_column(span.path, column, list(row))
        yield row[column] or ""


def _next_of_hub(rows: Iterator[dict[str, Any]], location: str) -> dict[str, Any] | None:
    try:
        return next(rows, None)
    except Exception as error:  # the hub's client raises those of its transport, too
        raise DataError(
            f"{location}: reading from the hub failed ({type(error).__name__}): run the same command again"
        ) from error


READERS = {"text": _read_text, "jsonl": _read_jsonl, "parquet": _read_parquet, "hub": _read_hub}


def open_hub(location: str, revision: str) -> Any:
    """Open the train split of `ID[:CONFIG]` as a `datasets.IterableDataset`, read as it arrives."""
    from datasets import load_dataset

    name, _, config = location.partition(":")
    return load_dataset(name, config or None, split="train", revision=revision, streaming=True)


def parquet_size(path: str, column: str) -> tuple[int, int]:
    """The rows of a parquet file, and the bytes of the text column before compression.

    Raises:
        DataError: not a parquet file, or no such text column.
    """
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise _unreadable(path, error) from error
    types = (pyarrow.types.is_string, pyarrow.types.is_large_string, pyarrow.types.is_string_view)
    if column not in schema.names or not any(is_type(schema.field(column).type) for is_type in types):
        raise _wrong_column(path, column, schema.names)
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    return metadata.num_rows, sum(c.total_uncompressed_size for c in chunks if c.path_in_schema == column)


def _lines(span: Span) -> Iterator[tuple[int, bytes]]:
    """Yield `(offset, line)` for the lines that start in the span; offsets are those of decompressed bytes."""
    try:
        with io.BufferedReader(pyarrow.input_stream(span.path, compression="detect"), BUFFER_BYTES) as stream:
            offset = span.start
            if offset:
                stream.seek(offset - 1)
                offset += len(stream.readline()) - 1
            while offset < span.stop and (line := stream.readline()):
                yield offset, line.removeprefix(BOM) if offset == 0 else line
                offset += len(line)
    except OSError as error:
        raise _unreadable(span.path, error) from error


def _line_number(span: Span, offset: int) -> int:
    """The number, from 1, of the line that starts at an offset of the span's file."""
    before = Span(span.kind, span.path, 0, offset, offset, span.stamp)
    return 1 + sum(1 for _ in _lines(before))


def _unreadable(path: str, error: Exception) -> DataError:
    reason = str(error).splitlines()[0].rstrip(".")
    return DataError(f"{path}: cannot be read ({reason}): mend or replace it, or leave it out")


def _invalid_utf8(where: str) -> DataError:
    return DataError(f"{where} is not valid UTF-8: convert the file (iconv -f LATIN1 -t UTF-8) and run again")


def _wrong_column(where: str, column: str, there: list[str]) -> DataError:
    names = ", ".join(there) or "none"
    return DataError(f"{where} has no text in a column {column!r}: choose --text-column among {names}")
