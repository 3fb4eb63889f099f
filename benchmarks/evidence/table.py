"""Rows of flat keys as two files: `runs.csv`, and `common.yaml` with what all of them have in common.

A row need not have every key. A cell is YAML, so that each value comes back with its type; it is empty where there is
no such key.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from apollo_ds.experiments.sweep.words import compact

Row = dict[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def write_rows(folder: Path, rows: Sequence[Row], first: Sequence[str]) -> None:
    """Write the two files; the keys that are named come first, and are columns even where all rows agree."""
    texts = [{key: _cell(value) for key, value in row.items()} for row in rows]
    keys = dict.fromkeys((*first, *(key for row in texts for key in row)))
    common = [key for key in keys if key not in first and all(row.get(key) == texts[0].get(key) for row in texts)]
    folder.mkdir(parents=True, exist_ok=True)
    shared = {key: rows[0][key] for key in common}
    (folder / "common.yaml").write_text(yaml.safe_dump(shared, sort_keys=False, default_flow_style=None, width=120))
    frame = pd.DataFrame(texts, columns=[key for key in keys if key not in common])
    frame.to_csv(folder / "runs.csv", index=False)


def is_table(folder: Path) -> bool:
    """Whether rows were written there."""
    return (folder / "runs.csv").is_file()


def read_rows(folder: Path) -> list[Row]:
    """The rows that were written."""
    common = yaml.load((folder / "common.yaml").read_text(), Loader=_LOADER) or {}
    lines = pd.read_csv(folder / "runs.csv", dtype=str, keep_default_na=False).to_dict("records")
    return [{**common, **{key: yaml.load(text, _LOADER) for key, text in line.items() if text}} for line in lines]


def _cell(value: Any) -> str:
    """A value as YAML; a text as it is, where it is read so."""
    return value if isinstance(value, str) and _reads_as_itself(value) else compact(value)


def _reads_as_itself(text: str) -> bool:
    try:
        return bool(yaml.load(text, _LOADER) == text)
    except yaml.YAMLError:
        return False


def flat(values: Mapping[str, Any], prefix: str = "") -> Row:
    """The leaves of a mapping of mappings, by dotted keys as they stand on a command line."""
    leaves: Row = {}
    for key, value in values.items():
        inner = isinstance(value, Mapping) and value
        leaves |= flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return leaves


def nested(row: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The mapping of mappings that dotted keys stand for."""
    values: dict[str, Any] = {}
    for key, value in row:
        *parents, last = key.split(".")
        target = values
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
    return values
