"""Read labelled sentences and pairs from `.tsv` and `.jsonl` files, and check them line by line."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pydantic_core import from_json

from apollo_ds.errors import UserError
from apollo_ds.finetune.encoding import open_text
from apollo_ds.finetune.tasks import Task
from data_prep.json_keys import KeyTwice, once_each

Row = tuple[int, dict[str, Any]]
"""The number of a line, counted from 1, and its values by column."""


@dataclass(frozen=True)
class Example:
    """A sentence or a pair of sentences, and the number of its label, or for a regression the number to predict."""

    texts: tuple[str, ...]
    label: int | float


def find(folder: Path, names: Sequence[str], suffixes: Sequence[str]) -> Path | None:
    """The first file with one of these names and one of these suffixes. None if there is none.

    Raises:
        UserError: a name exists with two suffixes.
    """
    for name in names:
        found = [path for suffix in suffixes if (path := folder / f"{name}{suffix}").is_file()]
        if len(found) > 1:
            raise UserError(f"--data: {folder} has {' and '.join(path.name for path in found)}; keep one of them")
        if found:
            return found[0]
    return None


def must_find(folder: Path, names: Sequence[str], suffixes: Sequence[str]) -> Path:
    """The first file with one of these names and one of these suffixes.

    Raises:
        UserError: there is none, or a name exists with two suffixes.
    """
    path = find(folder, names, suffixes)
    if path is None:
        wanted = " or ".join(f"{name}{suffix}" for name in names for suffix in suffixes)
        raise UserError(f"--data: {folder} has no {wanted}; put the file there, or name the folder that holds it")
    return path


def read_examples(path: Path, task: Task) -> list[Example]:
    """Read every example of a file, in order.

    Raises:
        UserError: the file cannot be read, is empty or lacks a column, or a line does not fit the task.
    """
    with open_text(path) as file:
        rows = _jsonl(path, file) if path.suffix == ".jsonl" else _tsv(path, file)
        examples = [_example(path, number, values, task) for number, values in rows]
    if not examples:
        raise UserError(f"{path}: holds no examples; each line after the header is one")
    return examples


def _tsv(path: Path, file: TextIO) -> Iterator[Row]:
    """Yield the rows of a file whose first line names the columns. Quotes are plain text, as in GLUE's files."""
    reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        header = next(reader, [])
        if twice := next((name for name in header if name and header.count(name) > 1), None):
            raise UserError(f"{path}: line 1 names the column {twice} twice; keep one")
        for row in reader:
            if row and len(row) != len(header):
                raise UserError(
                    f"{path}: line {reader.line_num} has {len(row)} columns, and the header {len(header)}; put one "
                    "tab between two columns and none elsewhere"
                )
            if row:
                yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}; write one example a line") from None


def _jsonl(path: Path, file: TextIO) -> Iterator[Row]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            values = from_json(line)  # strict JSON; `json.loads` below also finds keys that come twice
            json.loads(line, object_pairs_hook=once_each)
        except KeyTwice as twice:
            raise UserError(f"{path}: line {number} has the key {twice} twice; keep one") from None
        except ValueError as error:
            raise UserError(f"{path}: line {number} is not JSON ({error}); write one object a line") from None
        if not isinstance(values, dict):
            raise UserError(f"{path}: line {number} is not a JSON object; write one object a line")
        yield number, values


def _example(path: Path, number: int, values: dict[str, Any], task: Task) -> Example:
    texts = tuple(_text(path, number, values, names) for names in task.texts)
    if not any(text.strip() for text in texts):
        raise UserError(f"{path}: line {number} has no text; remove it")
    label = _value(path, number, values, task.label)
    return Example(texts, _class(path, number, label, task) if task.labels else _number(path, number, label, task))


def _value(path: Path, number: int, values: dict[str, Any], names: Sequence[str]) -> Any:
    present = [name for name in names if name in values]
    for name in present:
        if values[name] is not None:
            return values[name]
    if present:
        raise UserError(f"{path}: line {number}: {present[0]} is null; give it a value, or remove the line")
    where = f"line {number}" if path.suffix == ".jsonl" else "its first line"
    found = ", ".join(column[:30] for column in list(values)[:8])
    raise UserError(f"{path}: no column {' or '.join(names)} among {found}; name it so in {where}")


def _text(path: Path, number: int, values: dict[str, Any], names: Sequence[str]) -> str:
    text = _value(path, number, values, names)
    if not isinstance(text, str):
        raise UserError(f"{path}: line {number}: {str(text)[:40]} is no text for {names[0]}; write it in quotes")
    return text


def _class(path: Path, number: int, label: Any, task: Task) -> int:
    """The number of a label that is given as a number or by its name."""
    if label in task.labels:
        return task.labels.index(label)
    try:
        value = float(label)
    except (TypeError, ValueError, OverflowError):
        value = -1.0
    if value in range(len(task.labels)):
        return int(value)
    meanings = ", ".join(f"{place} ({name})" for place, name in enumerate(task.labels))
    raise UserError(f"{path}: line {number}: the label {str(label)[:40]!r} is none of {meanings}; correct it")


def _number(path: Path, number: int, label: Any, task: Task) -> float:
    low, high = task.limits
    try:
        value = float(label)
    except (TypeError, ValueError, OverflowError):
        value = float("nan")
    if low <= value <= high:
        return value
    raise UserError(
        f"{path}: line {number}: the label {str(label)[:40]!r} is no number from {low:g} to {high:g}; correct it"
    )
