"""Damage is found, and the file is named."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from texts import write_jsonl

from apollo_ds.data.batches import BatchSource
from apollo_ds.data.corpus import Corpus
from apollo_ds.data.text import Text
from apollo_ds.errors import UserError
from apollo_ds.models.shape import ModelShape
from data_prep import files
from data_prep.errors import DataError
from data_prep.manifest import Manifest, read_manifest
from data_prep.verify import verify, verify_once


@pytest.fixture
def folder(make: Callable[..., Manifest], texts: list[str], tmp_path: Path) -> Path:
    make(tmp_path / "out", write_jsonl(tmp_path / "a.jsonl", texts))
    return tmp_path / "out"


def test_whole_shards_pass(folder: Path) -> None:
    verify(folder)


@pytest.mark.parametrize(
    "name", ["train.bin", "train.idx", "validation.bin", "validation.idx", "tokenizer/tokenizer.json"]
)
def test_a_flipped_byte_and_a_missing_file_are_named(make: Callable[..., Manifest], folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: (missing or damaged|missing or not these shards' tokenizer)"):
        verify(folder)
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name}: missing or"):
        verify(folder)
    with pytest.raises(DataError, match=f"{name}: missing or"):
        make(folder, folder.parent / "a.jsonl")


DAMAGED = r"manifest\.json: damaged, or not from apollo-prep: restore it, or build the text into another folder$"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", "\xff", "[" * 10**5, '{"a":' * 900 + "1" + "}" * 900, '{"format": 3}', "9" * 5000]
)
def test_a_damaged_manifest_is_named(content: str, folder: Path) -> None:
    (folder / "manifest.json").write_text(content, encoding="latin-1")
    with pytest.raises(DataError, match=DAMAGED):
        verify(folder)
    with pytest.raises(UserError, match=f"data: .*{DAMAGED}"):
        Corpus.open(folder)


def test_a_manifest_that_is_a_folder_and_a_folder_that_is_a_file_are_named(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()
    with pytest.raises(DataError, match=DAMAGED):
        read_manifest(folder)
    with pytest.raises(DataError, match=r"tokenizer\.json: is a file, not a folder from apollo-prep"):
        read_manifest(folder / "tokenizer" / "tokenizer.json")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m.update(format=4), "was written by a later version, in format 4, and this version reads formats 1"),
        (lambda m: m.update(more=1), "was written by a later version, in format 3"),
        (lambda m: m["tokenizer"].update(path="../elsewhere"), "was written by a later version"),
        (
            lambda m: m["tokenizer"]["files"].update({"a/b": m["tokenizer"]["files"]["tokenizer.json"]}),
            "was written by",
        ),
        (lambda m: m["splits"]["train"]["files"].pop("train.idx"), "was written by a later version"),
        (lambda m: m["tokenizer"].update(vocab_size=True), "was written by a later version"),
    ],
)
def test_what_is_not_this_format_s_is_refused_though_its_hash_is_right(
    change: Callable[[dict[str, Any]], Any], sentence: str, folder: Path
) -> None:
    values, is_hashed = files.read_hashed(folder / "manifest.json")
    assert is_hashed
    change(values)
    files.write_hashed(folder / "manifest.json", values)
    with pytest.raises(DataError, match=sentence):
        read_manifest(folder)
    files.write_json(folder / "manifest.json", values)
    with pytest.raises(DataError, match=DAMAGED):
        read_manifest(folder)


OLD = Path(__file__).parents[2] / "fixtures" / "format_2" / "text"


def test_a_manifest_of_before_is_read_with_one_sentence_until_a_build_gives_it_a_hash(
    make: Callable[..., Manifest], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_manifest(OLD).format == 1
    today = read_manifest(folder)
    values, _ = files.read_hashed(folder / "manifest.json")
    del values["tokenizer"]["files"]
    files.write_json(folder / "manifest.json", {**values, "format": 1})
    corpus = Corpus.open(folder)
    hashes = (corpus.tokenizer_hash, corpus.train_hash, corpus.held_out_hash)
    for full in (False, True):
        corpus.verify(full)
        assert caplog.messages == [
            f"data: {folder}/manifest.json: has no hash of itself, since an earlier version wrote it, so damage in it "
            "would go unnoticed: run the same `apollo-prep build` again, which checks every file and adds it"
        ]
        caplog.clear()
    assert make(folder, folder.parent / "a.jsonl") == today == read_manifest(folder)
    again = Corpus.open(folder)
    again.verify()
    assert caplog.messages == []
    assert (again.tokenizer_hash, again.train_hash, again.held_out_hash) == hashes


def test_a_folder_of_the_format_before_is_read_without_a_sentence_and_left_as_it_is(
    make: Callable[..., Manifest], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    today, path = Corpus.open(folder), folder / "manifest.json"
    values, _ = files.read_hashed(path)
    for split in values["splits"].values():
        assert split.pop("bytes") > 0
    files.write_hashed(path, {**values, "format": 2})
    content = path.read_bytes()
    assert read_manifest(folder).hash == files.hash_of_values({**values, "format": 2})
    for full in (False, True):
        Corpus.open(folder).verify(full)
    made = make(folder, folder.parent / "a.jsonl")
    assert (made.format, path.read_bytes(), capsys.readouterr().err) == (2, content, "")
    assert [split.bytes for split in made.splits.values()] == [None, None]
    before = Corpus.open(folder)
    assert (before.train_hash, before.held_out_hash) == (today.train_hash, today.held_out_hash)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "added_tokens.json"])
def test_each_file_that_transformers_would_read_is_the_one_listed(name: str, folder: Path) -> None:
    corpus, path = Corpus.open(folder), folder / "tokenizer" / name
    corpus.check_tokenizer()
    path.write_text(path.read_text().replace("[MASK]", "[MISK]") if path.exists() else "{}")
    said = "missing or damaged" if name == "tokenizer_config.json" else "not a file of these shards' tokenizer: move it"
    for check in (corpus.check_tokenizer, corpus.verify, corpus.word_continuations):
        with pytest.raises(UserError, match=f"data: .*tokenizer/{name}: {said}"):
            check()


def test_a_tokenizer_that_is_a_file_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")
    (folder / "tokenizer").write_text("x")
    with pytest.raises(UserError, match=r"tokenizer/tokenizer\.json: missing or not these shards' tokenizer"):
        Corpus.open(folder).verify()


def test_only_full_finds_rot_in_the_tokens_and_both_find_it_elsewhere(folder: Path) -> None:
    for name in ("train.bin", "train.idx"):
        path = folder / name
        sound, status = path.read_bytes(), path.stat()
        path.write_bytes(sound[:90] + bytes([sound[90] ^ 1]) + sound[91:])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        if name == "train.bin":
            Corpus.open(folder).verify()
        with pytest.raises(UserError, match=f"data: .*{name}: missing or damaged"):
            Corpus.open(folder).verify(full=name == "train.bin")
        path.write_bytes(sound)


def test_any_flipped_bit_is_named_or_changes_nothing(folder: Path) -> None:
    """Flips spread over every file, an equal number each: none is silent, and none is an error of another kind."""

    def read() -> tuple[bytes, ...]:
        corpus = Corpus.open(folder)
        corpus.verify(full=True)
        shape = ModelShape(
            family="bert", num_layers=1, hidden_size=8, num_heads=1, intermediate_size=8, vocab_size=corpus.vocab_size
        )
        (batch,) = BatchSource(Text.of(corpus), shape, 16, seed=1, whole_words=True).micro_batches(0, 16, 8, 8, 0, 1)
        saved = [path.read_bytes() for path in sorted(corpus.tokenizer_folder.iterdir())]
        return (*(tensor.numpy().tobytes() for tensor in batch), *saved)

    expected, random, named = read(), np.random.default_rng(0), 0
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {path.parent.name for path in paths} == {"out", "tokenizer", "cache"}
    for path in paths:
        sound = path.read_bytes()
        for place in np.linspace(0, len(sound) - 1, 30).astype(int).tolist():
            damaged = bytearray(sound)
            damaged[place] ^= 1 << int(random.integers(8))
            path.write_bytes(damaged)
            try:
                assert read() == expected
                assert path.parent.name == "cache"
            except UserError:
                named += 1
            path.write_bytes(sound)
    assert named == 30 * sum(path.parent.name != "cache" for path in paths)


def test_shards_that_megatron_core_does_not_read_are_refused_though_the_manifest_lists_them(folder: Path) -> None:
    index, (manifest, _) = folder / "train.idx", files.read_hashed(folder / "manifest.json")
    index.write_bytes(b"TNTIDX" + index.read_bytes()[6:])
    manifest["splits"]["train"]["files"]["train.idx"] = files.describe(index)
    files.write_hashed(folder / "manifest.json", manifest)
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
    small = [path for path in read if path.suffix != ".bin"]
    assert read == small != []
    read.clear()
    path = folder / "train.bin"
    path.write_bytes(path.read_bytes())
    for _ in range(2):
        verify_once(folder)
    assert [path.name for path in read if path.suffix == ".bin"] == ["train.bin", "validation.bin"]
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
    with pytest.raises(
        DataError,
        match=r"out: has shards but no manifest\.json, .* stays as it is: run `apollo-prep adopt .*, or build the",
    ):
        verify(folder)
