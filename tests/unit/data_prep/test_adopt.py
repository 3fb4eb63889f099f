"""Shards of other tools become prepared text: the same tokens, and nothing of theirs changed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adopt_fixtures import Run
from foreign_shards import as_they_are, documents_of, write_shard
from rich.console import Console
from texts import write_jsonl

from apollo_ds.data.corpus import Corpus
from apollo_ds.data.token_stream import TokenStream
from data_prep import adopt as adopting
from data_prep.errors import DataError
from data_prep.inspection import inspect
from data_prep.manifest import Manifest, read_manifest
from data_prep.shards import Shards
from data_prep.verify import check_sizes, verify, verify_once


def served(folder: Path, split: str) -> list[list[int]]:
    """The documents of a split, in order."""
    opened = Shards.open(read_manifest(folder).pairs(folder, split))
    ends = np.cumsum(opened.lengths, dtype=np.int64)
    tokens = opened.read(opened.first_tokens, opened.lengths.astype(np.int64))
    return [part.tolist() for part in np.split(tokens, ends[:-1])]


def test_every_document_is_in_one_split_and_nothing_of_the_shards_is_changed(
    run: Run, shards: Path, documents: list[list[int]], texts: list[str], tmp_path: Path
) -> None:
    before = as_they_are(shards)
    manifest, printed = run(shards)
    train, validation = (served(tmp_path / "out", split) for split in ("train", "validation"))
    written = documents[:120] + documents[60:]
    assert train == [document for document in written if document not in validation]
    assert sorted(train + validation) == sorted(written)
    assert 0 < len(validation) < 0.2 * len(written)
    for split, found in (("train", train), ("validation", validation)):
        entry = manifest.splits[split]
        size = sum(len(texts[documents.index(document)].encode()) for document in found)
        assert (entry.documents, entry.tokens, entry.bytes) == (len(found), sum(map(len, found)), size)
    assert "2 shards, 260 documents\n1 more documents are empty and left out\n" in printed
    assert "do not end with" not in printed
    for check in (verify, verify_once, lambda folder: check_sizes(folder, manifest)):
        check(tmp_path / "out")
    inspect(tmp_path / "out", Console(quiet=True))
    assert as_they_are(shards) == before
    assert not list((tmp_path / "out").rglob("*.bin")) and not (tmp_path / "out" / "work").exists()


@pytest.mark.parametrize("parts", [1, 3])
def test_a_stream_serves_what_it_serves_of_a_build_of_the_same_documents(
    run: Run, make: Callable[..., Manifest], tokenizers: dict[str, Path], texts: list[str], parts: int, tmp_path: Path
) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", texts)
    built = make(tmp_path / "built", source, tokenizer=str(tokenizers["bpe"]))
    of_train = documents_of(tmp_path / "built" / "train")
    cut = np.linspace(0, len(of_train), parts + 1).astype(int).tolist()
    for i, dtype in zip(range(parts), (np.uint16, np.int64, np.int16), strict=False):
        write_shard(tmp_path / "shards" / f"train-{i}", of_train[cut[i] : cut[i + 1]], dtype, sequences=i + 1)
    held_out = write_shard(tmp_path / "shards" / "held_out", documents_of(tmp_path / "built" / "validation"))
    adopted, _ = run(tmp_path / "shards", validation=(str(held_out),), validation_fraction=0.01)
    assert len(adopted.splits["train"].prefixes) == parts
    assert adopted.unigram_entropy == pytest.approx(built.unigram_entropy, rel=1e-12)
    for split in ("train", "validation"):
        one, other = (TokenStream(tmp_path / name, split, 32, seed=4) for name in ("built", "out"))
        assert one.blocks == other.blocks
        positions = np.arange(0, 3 * one.tokens_per_epoch, 32)
        for read in (TokenStream.read, TokenStream.documents):
            assert (read(one, positions, 33) == read(other, positions, 33)).all()
        for left, right in zip(
            one.read_in_documents(positions, 32), other.read_in_documents(positions, 32), strict=True
        ):
            assert (left == right).all()
        assert adopted.splits[split].bytes == built.splits[split].bytes


def test_held_out_shards_are_told_of_where_they_are_trained_on_too(run: Run, shards: Path) -> None:
    manifest, printed = run(shards / "a_text_document", validation=(str(shards / "b_text_document"),))
    assert [split.documents for split in manifest.splits.values()] == [120, 140]
    assert "60 of the 140 held-out documents are also among those to train on\n" in printed


def test_documents_without_their_end_are_counted(run: Run, documents: list[list[int]], tmp_path: Path) -> None:
    write_shard(tmp_path / "shards" / "a", [*documents[:50], *(ids[:-1] for ids in documents[50:])], np.uint16)
    manifest, printed = run(tmp_path / "shards")
    told = "150 of 200 documents (75.0%) do not end with <|endoftext|> (0), as Megatron writes them"
    assert told in printed
    assert manifest.splits["train"].bytes is not None


def test_bytes_are_unknown_where_a_special_token_may_be_text(
    run: Run, documents: list[list[int]], tmp_path: Path
) -> None:
    end = documents[0][-1]
    write_shard(tmp_path / "shards" / "a", [[end, *ids] for ids in documents], np.uint16)
    write_shard(tmp_path / "inside" / "a", [[*ids[:3], end, *ids[3:]] for ids in documents], np.uint16)
    with_start, _ = run(tmp_path / "shards", out="with_start")
    assert all(split.bytes for split in with_start.splits.values())
    inside, _ = run(tmp_path / "inside", out="inside_out")
    assert [split.bytes for split in inside.splits.values()] == [None, None]
    assert inside.sources[0].bytes is None


def test_wordpiece_does_not_tell_the_bytes(run: Run, tokenizers: dict[str, Path], tmp_path: Path) -> None:
    ends = [[5 + i, 6, 3] for i in range(50)]
    write_shard(tmp_path / "shards" / "a", ends, np.uint16)
    manifest, _ = run(tmp_path / "shards", tokenizer=str(tokenizers["wordpiece"]))
    assert [split.bytes for split in manifest.splits.values()] == [None, None]


def test_the_same_command_finds_the_folder_and_others_are_refused(
    run: Run, make: Callable[..., Manifest], shards: Path, texts: list[str], tmp_path: Path
) -> None:
    first, _ = run(shards)
    before = as_they_are(tmp_path / "out")
    again, printed = run(shards)
    assert again == first and "out: is finished, and every file is as it was written\n" in printed
    with pytest.raises(DataError, match=r"out: was begun with validation_fraction 0\.1, not 0\.2: run with the former"):
        run(shards, validation_fraction=0.2)
    source = write_jsonl(tmp_path / "a.jsonl", texts)
    with pytest.raises(DataError, match=r"out: was begun with shards .*, not none"):
        make(tmp_path / "out", source)
    assert as_they_are(tmp_path / "out") == before
    make(tmp_path / "built", source)
    with pytest.raises(DataError, match=r"built: was begun with sources a=.*a\.jsonl, not none: run with the former"):
        run(shards, out="built")
    write_shard(shards / "c", [[1, 2, 0]])
    assert "there are other shards than when" in run(shards)[1]


def test_a_large_held_out_share_is_told_of(run: Run, tmp_path: Path) -> None:
    write_shard(tmp_path / "shards" / "a", [[1, 2, 0], [3, 4, 0]])
    told = "the text: 50.0% of its tokens are held out, not 1.0%: its documents are few or long"
    assert told in run(tmp_path / "shards", validation_fraction=0.01)[1]


@pytest.mark.parametrize("at", ["write_index", "copy_tokenizer", "write_manifest"])
def test_a_stopped_adoption_goes_on_to_the_same_files(
    run: Run, shards: Path, at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = run(shards, out="whole")
    calls: list[None] = []
    real = getattr(adopting, at)

    def stop(*given: Any) -> Any:
        calls.append(None)
        if len(calls) == 1 + 2 * (at == "write_index"):
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(adopting, at, stop)
        with pytest.raises(KeyboardInterrupt):
            run(shards)
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert run(shards)[0] == whole
    folders = [{name for name in as_they_are(tmp_path / out) if "cache" not in name} for out in ("whole", "out")]
    assert folders[0] == folders[1]


def test_a_corpus_of_adopted_shards_knows_its_text_and_its_sizes(run: Run, shards: Path, tmp_path: Path) -> None:
    run(shards)
    run(shards, out="other", validation_fraction=0.2)
    one, other = (Corpus.open(tmp_path / name) for name in ("out", "other"))
    assert one.train_hash != other.train_hash and one.held_out_hash != other.held_out_hash
    assert one.train_hash != one.held_out_hash and one.tokenizer_hash == other.tokenizer_hash
    shutil.copytree(tmp_path / "out", tmp_path / "moved")
    assert Corpus.open(tmp_path / "moved").train_hash == one.train_hash
    assert one.sizes()["train-00001.bin"] == (shards / "b_text_document.bin").stat().st_size
    (shards / "b_text_document.bin").unlink()
    assert "train-00001.bin" not in one.sizes()


def test_the_manifest_lists_absolute_places_alone(run: Run, shards: Path, tmp_path: Path) -> None:
    run(shards)
    path = tmp_path / "out" / "manifest.json"
    values = json.loads(path.read_text())
    locations = {file.get("location") for split in values["splits"].values() for file in split["files"].values()}
    assert locations == {None, str(shards / "a_text_document.bin"), str(shards / "b_text_document.bin")}
