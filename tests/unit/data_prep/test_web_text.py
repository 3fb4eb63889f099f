"""Folders as datatrove's writers leave them are read: its names, keys and compressions."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from data_prep.manifest import Manifest

RANKS = 4


def document(number: int, text: str) -> dict[str, Any]:
    """The keys that a document of a WARC has; empty ones are left out."""
    metadata = {"url": f"http://example.com/{number}", "date": "2026-01-01T00:00:00Z", "file_path": "0.warc.gz"}
    return {"text": text, "id": f"<urn:uuid:{number}>", "metadata": metadata}


def packed(rows: list[dict[str, Any]], kind: str) -> bytes:
    if kind == "parquet":
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer, compression="snappy")
        return buffer.getvalue()
    lines = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows).encode()
    return gzip.compress(lines) if kind == "gz" else pyarrow.compress(lines, codec="zstd", asbytes=True)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("gz", "{rank:05}.jsonl.gz"),
        ("gz", "000_{rank:05}.jsonl.gz"),
        ("zst", "{rank:05}.jsonl.zst"),
        ("parquet", "000_{rank:05}.parquet"),
    ],
)
@pytest.mark.parametrize("expanded", [False, True])
def test_the_output_of_its_writers(
    make: Callable[..., Manifest], texts: list[str], tmp_path: Path, kind: str, name: str, expanded: bool
) -> None:
    (tmp_path / "text").mkdir()
    for rank in range(RANKS):
        rows = [document(number, text) for number, text in enumerate(texts[rank::RANKS])]
        if expanded:
            rows = [{**row, **row.pop("metadata")} for row in rows]
        (tmp_path / "text" / name.format(rank=rank)).write_bytes(packed(rows, kind))
    (source,) = make(tmp_path / "out", tmp_path / "text").sources
    assert source.name == "text"
    assert source.documents == len(texts)
    assert source.bytes == len("".join(texts).encode())
