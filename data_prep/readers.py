"""Read documents from spans of files, a few at a time: text, JSON lines, parquet and data sets of the hub."""

import codecs
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from data_prep import parquet
from data_prep.errors import DataError
from data_prep.lines import lines, not_utf8, place_of
from data_prep.span import Span

TEXT_DOCUMENT_BYTES = 1 << 20
_NAMES = {str: "a text", bool: "true or false", float: "a number", list: "a list", type(None): "null"}


def read(span: Span, column: str) -> Iterator[str]:
    """Yield the documents of a span. A missing text is an empty document.

    Args:
        span: the part of a file to read.
        column: the parquet column or JSON key that holds the text.
    Raises:
        DataError: the text is not UTF-8 or not JSON, the column is missing, a line is too long, or the file is damaged.
            The message names the file and the line or row.
    """
    return READERS[span.kind](span, column)


def _read_text(span: Span, column: str) -> Iterator[str]:
    """A file is one document. A large file is cut at line ends into documents of about 1 MiB."""
    held: list[str] = []
    size = 0
    for offset, line in lines(span):
        try:
            held.append(line.decode())
        except UnicodeDecodeError as error:
            raise not_utf8(span.path, offset) from error
        size += len(line)
        if size >= TEXT_DOCUMENT_BYTES:
            yield "".join(held)
            held, size = [], 0
    if held:
        yield "".join(held)


def _read_jsonl(span: Span, column: str) -> Iterator[str]:
    decoder = json.JSONDecoder(object_pairs_hook=partial(_object, column), parse_int=float)  # of any length
    for offset, line in lines(span):
        row = line.removeprefix(codecs.BOM_UTF8)  # a mark in the middle, if files were joined
        if not row.strip():
            continue
        try:
            text = _text_of(decoder.decode(row.decode(errors="surrogatepass")), column)
        except UnicodeDecodeError as error:
            raise not_utf8(span.path, offset) from error
        except json.JSONDecodeError as error:
            where = place_of(span.path, offset)
            raise DataError(f"{where} is not JSON ({error.msg}): write one JSON object a line") from error
        except RecursionError as error:
            where = place_of(span.path, offset)
            raise DataError(f"{where} has brackets within brackets, thousands deep: mend it or leave it out") from error
        except ValueError as error:
            raise DataError(f"{place_of(span.path, offset)} {error}") from error
        yield text.encode(errors="replace").decode()  # JSON can hold half of a surrogate pair


def _object(column: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if sum(key == column for key, _ in pairs) > 1:
        raise ValueError(f"has the key {column!r} twice: keep one")
    return dict(pairs)


def _text_of(row: Any, column: str) -> str:
    """The text of a row. If there is none, the ValueError says what the row has instead, and what to do."""
    if not isinstance(row, dict):
        raise ValueError(f"is {_NAMES[type(row)]}, not an object: write one JSON object a line")
    text = row.get(column, 0.0)
    if text is None or isinstance(text, str):
        return text or ""
    what = f"has {_NAMES.get(type(text), 'an object')} as {column!r}" if column in row else f"has no {column!r}"
    others = ", ".join(key for key, value in row.items() if isinstance(value, str))
    raise ValueError(f"{what}: " + (f"choose --text-column among {others}" if others else "write a text there"))


def _read_hub(span: Span, column: str) -> Iterator[str]:
    rows = iter(open_hub(span.path, span.stamp).shard(num_shards=span.stop, index=span.start))
    while row := _next_of_hub(rows, span.path):
        try:
            yield _text_of(row, column)
        except ValueError as error:
            raise DataError(f"{span.path}: a row {error}") from error


def _next_of_hub(rows: Iterator[dict[str, Any]], location: str) -> dict[str, Any] | None:
    try:
        return next(rows, None)
    except Exception as error:  # the hub's client raises many classes, also those of its transport
        raise DataError(
            f"{location}: reading from the hub failed ({type(error).__name__}): run the same command again"
        ) from error


READERS = {"text": _read_text, "jsonl": _read_jsonl, "parquet": parquet.read, "hub": _read_hub}


def open_hub(location: str, revision: str) -> Any:
    """Open the train split of `ID[:CONFIG]` as a `datasets.IterableDataset`. Rows are read as they arrive."""
    from datasets import load_dataset

    name, _, config = location.partition(":")
    return load_dataset(name, config or None, split="train", revision=revision, streaming=True)
