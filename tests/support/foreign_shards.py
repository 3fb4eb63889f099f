"""Shards as other tools write them, by megatron-core's builder."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.indexed import IndexedDatasetBuilder, open_split

Documents = Iterable[Sequence[int]]


def write_shard(prefix: Path, documents: Documents, dtype: Any = np.int32, sequences: int = 1) -> Path:
    """Write documents, each cut into so many sequences as far as it has tokens for them; returns the prefix."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype)
    for document in documents:
        lengths = [len(part) for part in np.array_split(np.array(document), sequences)]
        builder.add_document(np.array(document), lengths)
    builder.finalize(f"{prefix}.idx")
    return prefix


def documents_of(prefix: Path) -> list[list[int]]:
    """The documents of a split that `build` made."""
    split = open_split(prefix)
    return [split[i].tolist() for i in range(len(split))]


def as_they_are(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The content and the time of change of every file below a folder."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
