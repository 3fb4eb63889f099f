"""What adoption refuses, each in one sentence, and shards that change or are given as text."""

import re
from pathlib import Path
from typing import Any

import pytest
from adopt_fixtures import Run
from foreign_shards import as_they_are, write_shard

from apollo_ds.data.corpus import Corpus
from apollo_ds.errors import UserError
from data_prep import adopt as adopting
from data_prep.errors import DataError
from data_prep.manifest import read_manifest
from data_prep.scan import scan
from data_prep.verify import check_sizes, verify, verify_once


@pytest.mark.parametrize("id_", [1000, 40_000, -1])
def test_a_token_beyond_the_tokenizer_is_named(run: Run, documents: list[list[int]], id_: int, tmp_path: Path) -> None:
    write_shard(tmp_path / "shards" / "a", [*documents[:7], [5, id_, 0], *documents[7:]])
    with pytest.raises(DataError) as told:
        run(tmp_path / "shards")
    assert str(told.value) == (
        f"{tmp_path}/shards/a.bin: document 7 (from 0, without empty ones) holds the id {id_:,}, but the tokenizer has "
        "1,000 tokens: give as --tokenizer the one that the shards were made with"
    )
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_shards_that_change_while_they_are_read_are_told(
    run: Run, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scan_late(*given: Any) -> Any:
        scanned = scan(*given)
        (shards / "a_text_document.bin").write_bytes((shards / "a_text_document.bin").read_bytes())
        return scanned

    monkeypatch.setattr(adopting, "scan", scan_late)
    with pytest.raises(DataError, match="out: its shards have changed while they were read: run the same command"):
        run(shards)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["work"]


@pytest.mark.parametrize("out", ["shards/out", "shards"])
def test_nothing_is_written_among_the_shards(run: Run, shards: Path, out: str) -> None:
    before = as_they_are(shards)
    with pytest.raises(DataError, match="is among the shards, where nothing is written: give another --out"):
        run(shards, out=out)
    with pytest.raises(DataError, match="is among the shards"):
        run(shards / "a_text_document", out="shards")
    assert as_they_are(shards) == before


@pytest.mark.parametrize("name", ["train-00000.idx", "train.bin", "tokenizer/tokenizer.json"])
def test_a_folder_with_files_of_others_is_refused(run: Run, shards: Path, name: str, tmp_path: Path) -> None:
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("another's")
    with pytest.raises(DataError, match=rf"out: holds {name.split('/')[0]}, which this build did not make"):
        run(shards)
    assert path.read_text() == "another's"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tokenizer": "bpe"}, "--tokenizer bpe: nothing there: give the vocab.txt, or the folder of the tokenizer"),
        ({"validation_fraction": 1.0}, r"--validation-fraction 1\.0: must be at least 0 and below 1"),
        ({"validation_fraction": float("nan")}, "--validation-fraction nan: must be at least 0"),
        ({"validation_fraction": -0.1}, r"--validation-fraction -0\.1: must be at least 0"),
    ],
)
def test_options_that_cannot_be_are_refused(run: Run, options: dict[str, Any], sentence: str, shards: Path) -> None:
    with pytest.raises(DataError, match=sentence):
        run(shards, **options)


def test_what_leaves_no_documents_to_train_on_or_to_hold_out_is_refused(run: Run, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--validation .*shards: leaves no shard to train on"):
        run(shards, validation=(str(shards),))
    equal = write_shard(tmp_path / "equal" / "a", [[1, 2, 0]] * 5)
    with pytest.raises(DataError, match="all documents are equal, and some must be held out: name held-out shards"):
        run(equal)


@pytest.mark.parametrize("change", ["cut", "touched and changed", "moved"])
def test_a_shard_that_has_changed_is_named_with_the_way_out(
    run: Run, shards: Path, change: str, tmp_path: Path
) -> None:
    manifest, _ = run(shards)
    path = shards / "a_text_document.bin"
    content = path.read_bytes()
    path.unlink() if change == "moved" else path.write_bytes(content[:-2] if change == "cut" else b"\1" + content[1:])
    sentence = rf"{path}: missing, or changed since {tmp_path}/out was made from it: restore it, or remove"
    for check in (verify, verify_once):
        with pytest.raises(DataError, match=sentence):
            check(tmp_path / "out")
    with pytest.raises(UserError, match=f"data: {sentence}"):
        Corpus.open(tmp_path / "out").verify()
    if change != "touched and changed":
        with pytest.raises(DataError, match=sentence):
            check_sizes(tmp_path / "out", manifest)


@pytest.mark.parametrize("name", ["train-00000.idx", "tokenizer/tokenizer.json"])
def test_what_adopt_wrote_itself_is_adopted_again_where_it_is_damaged(
    run: Run, shards: Path, name: str, tmp_path: Path
) -> None:
    run(shards)
    (tmp_path / "out" / name).write_bytes(b"damaged")
    way = rf"{name}: missing .*: restore it, or remove {tmp_path}/out and run `apollo-prep adopt` again with the shards"
    with pytest.raises(DataError, match=way):
        verify(tmp_path / "out")


@pytest.mark.parametrize("given", ["", "/a_text_document", "/a_text_document.bin", "/a_text_document.idx"])
def test_foreign_shards_given_as_data_are_told_of_adopt(shards: Path, given: str) -> None:
    place = Path(f"{shards}{given}")
    way = f"run `apollo-prep adopt {place} --tokenizer TOKENIZER --out DIR` and give DIR"
    with pytest.raises(UserError, match=f"data: .*{re.escape(way)}"):
        Corpus.open(place)
    with pytest.raises(DataError, match=re.escape(way)):
        read_manifest(place)
