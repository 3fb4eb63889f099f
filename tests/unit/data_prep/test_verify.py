"""Damage is found, and the file is named."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from texts import write_jsonl

from apollo_ds.data.corpus import Corpus
from apollo_ds.errors import UserError
from data_prep import files
from data_prep.errors import DataError
from data_prep.verify import verify, verify_once


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


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 2}', "{}"])
def test_a_manifest_that_is_damaged_or_of_another_format_is_named(content: str, folder: Path) -> None:
    (folder / "manifest.json").write_text(content)
    with pytest.raises(DataError, match=r"manifest\.json: (damaged: restore it|has format (2|None), and this version)"):
        verify(folder)
    with pytest.raises(UserError, match=r"data: .*manifest\.json: (damaged: restore it|has format (2|None), and this)"):
        Corpus.open(folder)


def test_shards_that_megatron_core_does_not_read_are_refused_though_the_manifest_lists_them(folder: Path) -> None:
    index, manifest = folder / "train.idx", files.read_json(folder / "manifest.json")
    index.write_bytes(b"TNTIDX" + index.read_bytes()[6:])
    manifest["splits"]["train"]["files"]["train.idx"] = files.describe(index)
    files.write_json(folder / "manifest.json", manifest)
    for _ in range(2):
        with pytest.raises(DataError, match=r"train\.idx: missing, damaged, or not an index of Megatron's"):
            verify_once(folder)


def test_what_was_built_or_found_sound_is_not_read_again_until_it_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    matches = files.matches
    monkeypatch.setattr(files, "matches", lambda path, expected: read.append(path) or matches(path, expected))
    verify_once(folder)
    assert read == []
    path = folder / "train.bin"
    path.write_bytes(path.read_bytes())
    for _ in range(2):
        verify_once(folder)
    assert len(read) == 4
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    for _ in range(2):
        with pytest.raises(DataError, match=r"train\.bin: missing or damaged"):
            verify_once(folder)
    path.unlink()
    with pytest.raises(DataError, match=r"train\.bin: missing or damaged"):
        verify_once(folder)


def test_a_folder_that_cannot_be_written_to_is_checked_each_time(folder: Path) -> None:
    shutil.rmtree(folder / "cache")
    (folder / "cache").write_text("in the way")
    verify_once(folder)
    path = folder / "train.bin"
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    with pytest.raises(DataError, match=r"train\.bin: missing or damaged"):
        verify_once(folder)


def test_unfinished_shards(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"manifest\.json: not found: make the shards by apollo-prep build --out"):
        verify(folder)
