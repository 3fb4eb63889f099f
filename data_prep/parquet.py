"""Read the text column of parquet files, a few rows at a time."""

from collections.abc import Iterator

import pyarrow
import pyarrow.parquet

from data_prep.errors import DataError
from data_prep.lines import BUFFER_BYTES, LONGEST_TEXT_BYTES, unreadable
from data_prep.span import Span

ROWS_AT_ONCE = 64
BYTES_AT_ONCE = 1 << 30
_DAMAGED = (OSError, pyarrow.ArrowException, UnicodeDecodeError)
_IS_TEXT = (pyarrow.types.is_string, pyarrow.types.is_large_string, pyarrow.types.is_string_view)


def size(path: str, column: str) -> tuple[int, int]:
    """The number of rows of a parquet file, and the bytes of its text column before compression.

    Raises:
        DataError: the file is not parquet, has no such text column, or has a text that is too long.
    """
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _check_column(path, file.schema_arrow, column)
            sizes = [_bytes_of_group(file, group, column) for group in range(file.num_row_groups)]
            rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            total = file.metadata.num_rows
    except _DAMAGED as error:
        raise unreadable(path, error) from error
    for group, (count, held) in enumerate(zip(rows, sizes, strict=True)):
        if held > LONGEST_TEXT_BYTES * count > 0:
            raise _too_long(f"{path}: row group {group}")
    return total, sum(sizes)


def read(span: Span, column: str) -> Iterator[str]:
    """Yield the texts of the rows of a span. A null is an empty document.

    Raises:
        DataError: the file is damaged, or a text is too long or not UTF-8.
    """
    try:
        with pyarrow.parquet.ParquetFile(
            span.path, pre_buffer=False, buffer_size=BUFFER_BYTES, page_checksum_verification=True
        ) as file:
            first = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if first < span.stop and span.start < first + rows:
                    yield from _read_row_group(file, group, first, span, column)
                first += rows
    except _DAMAGED as error:
        raise unreadable(span.path, error) from error


def _read_row_group(file: pyarrow.parquet.ParquetFile, group: int, row: int, span: Span, column: str) -> Iterator[str]:
    """Decode a few rows at a time: thousands of books of a megabyte each would not fit into memory.

    No text is longer than the whole column in its row group. That bounds the memory of a few rows.
    """
    longest = max(_bytes_of_group(file, group, column), 1)
    count = max(1, min(ROWS_AT_ONCE, BYTES_AT_ONCE // longest))
    for batch in file.iter_batches(batch_size=count, row_groups=[group], columns=[column], use_threads=False):
        if row >= span.stop:
            return
        texts = batch.column(column)
        for i in range(max(span.start - row, 0), min(span.stop - row, len(texts))):
            yield _text(texts[i].as_buffer(), f"{span.path}: row {row + i}")
        row += len(texts)


def _text(value: pyarrow.Buffer | None, where: str) -> str:
    if value is None:
        return ""
    if value.size > LONGEST_TEXT_BYTES:
        raise _too_long(where)
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not valid UTF-8: write the column anew from text, and run again") from error


def _bytes_of_group(file: pyarrow.parquet.ParquetFile, group: int, column: str) -> int:
    held = file.metadata.row_group(group)
    chunks = [held.column(i) for i in range(held.num_columns)]
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == column)


def _check_column(path: str, schema: pyarrow.Schema, column: str) -> None:
    """Raise a DataError unless exactly one column has the name, and it holds text."""
    there = schema.names.count(column)
    if there > 1:
        raise DataError(f"{path}: has {there} columns named {column!r}: rename all but one, or leave them out")
    texts = [field.name for field in schema if any(is_type(field.type) for is_type in _IS_TEXT)]
    if there and column in texts:
        return
    types = ", ".join(f"{field.name} ({field.type})" for field in schema) or "no columns"
    what = f"column {column!r} holds {schema.field(column).type}, not text" if there else f"has no column {column!r}"
    mend = f"choose --text-column among {', '.join(texts)}" if texts else "write the text as a column of type string"
    raise DataError(f"{path}: {what}: {mend}; it has {types}")


def _too_long(where: str) -> DataError:
    return DataError(
        f"{where} holds a text longer than {LONGEST_TEXT_BYTES >> 20} MiB, the most that is allowed: "
        "break it into documents, one a row"
    )
