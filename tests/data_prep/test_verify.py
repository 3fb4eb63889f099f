"""Damage is found, and the file is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from texts import write_jsonl

from data_prep.errors import DataError
from data_prep.verify import verify


@pytest.fixture
def folder(make: Callable[..., dict[str, Any]], texts: list[str], tmp_path: Path) -> Path:
    make(tmp_path / "out", write_jsonl(tmp_path / "a.jsonl", texts))
    return tmp_path / "out"


def test_whole_shards_pass(folder: Path) -> None:
    verify(folder)


@pytest.mark.parametrize(
    "name", ["train.bin", "train.idx", "validation.bin", "validation.idx", "tokenizer/tokenizer.json"]
)
def test_a_flipped_byte_and_a_missing_file_are_named(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: (missing or damaged|missing or not these shards' tokenizer)"):
        verify(folder)
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name}: missing or"):
        verify(folder)


def test_unfinished_shards(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"manifest\.json: not found: make the shards by apollo-prep build --out"):
        verify(folder)
