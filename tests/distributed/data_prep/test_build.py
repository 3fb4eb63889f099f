"""Shards are the same however many processes made them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from texts import write_jsonl, write_parquet

from data_prep import sources

Make = Callable[..., dict[str, Any]]


SHARDS = ("train.bin", "train.idx", "validation.bin", "validation.idx")


def shards(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in SHARDS}


def test_one_and_two_workers_write_the_same(
    make: Make, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "PART_BYTES", 20_000)
    given = [write_jsonl(tmp_path / "a.jsonl", texts[:100]), write_parquet(tmp_path / "b.parquet", texts[100:])]
    for workers in (1, 2):
        make(tmp_path / str(workers), *given, workers=workers, deduplicate="near", normalize="NFKC")
    assert shards(tmp_path / "1") == shards(tmp_path / "2")


def test_real_text(make: Make, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice of both files, by one worker and by two."""
    monkeypatch.setattr(sources, "PART_BYTES", 1 << 20)
    given = []
    for name, rows in (("wikipedia", 60), ("books", 3)):
        table = pyarrow.parquet.read_table(corpora / f"{name}.parquet").slice(0, rows)
        pyarrow.parquet.write_table(table, tmp_path / f"{name}.parquet")
        given.append(tmp_path / f"{name}.parquet")
    make(tmp_path / "1", *given, workers=1)
    make(tmp_path / "2", *given, workers=2)
    assert shards(tmp_path / "1") == shards(tmp_path / "2")
