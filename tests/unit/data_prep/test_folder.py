"""A build and `inspect` write over no file but their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from texts import write_jsonl

from apollo_ds.data.corpus import Corpus
from apollo_ds.errors import UserError
from data_prep import build
from data_prep.errors import DataError
from data_prep.inspection import inspect
from data_prep.manifest import Manifest

Make = Callable[..., Manifest]
WRITTEN = ("train.bin", "train.idx", "validation.bin", "validation.idx", "tokenizer/merges.txt", "cache/verified.json")


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "verified.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture
def source(tmp_path: Path, texts: list[str]) -> Path:
    return write_jsonl(tmp_path / "a.jsonl", texts[:20])


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_of_another_s_is_refused_before_anything_is_made(
    make: Make, source: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("another's")
    with pytest.raises(DataError, match=f"out: holds {name.partition('/m')[0]}, which this build did not make and"):
        make(tmp_path / "out", source)
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == [path]
    assert path.read_text() == "another's"


@pytest.mark.parametrize(("location", "out"), [("", ""), ("", "sub/out"), ("**/*.jsonl", "out"), ("link", "out")])
def test_a_folder_among_the_text_is_refused(make: Make, source: Path, tmp_path: Path, location: str, out: str) -> None:
    (tmp_path / "link").symlink_to(".")
    with pytest.raises(
        DataError, match=r"--out .* is in .*, of which --source s reads all files: name a folder outside"
    ):
        make(tmp_path / out, f"s={tmp_path / location}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "link"]


def test_a_link_of_another_s_is_refused(make: Make, source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train.bin").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"out: holds train\.bin, which"):
        make(tmp_path / "out", source)


def test_a_file_that_comes_while_a_build_works_is_refused(
    make: Make, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = build.encode_all

    def encode_while_it_comes(*given: Any) -> None:
        encode(*given)
        (tmp_path / "out" / "train.bin").write_text("another's")

    monkeypatch.setattr(build, "encode_all", encode_while_it_comes)
    with pytest.raises(DataError, match=r"out: holds train\.bin, which"):
        make(tmp_path / "out", source)
    assert (tmp_path / "out" / "train.bin").read_text() == "another's"


def test_a_build_stopped_while_it_wrote_goes_on_to_the_same_bytes(
    make: Make, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "whole", source)

    def stop(*given: Any) -> None:
        for name in WRITTEN[:-2]:
            (given[-1] / name).write_text("unfinished")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build, "merge", stop)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "out", source)
    make(tmp_path / "out", source)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_user_s_folder_named_work_stays(make: Make, source: Path, tmp_path: Path) -> None:
    work = tmp_path / "out" / "work"
    (work / "parts-of-a-letter").mkdir(parents=True)
    (work / "lock").write_text("a user's")
    (work / "notes.txt").write_text("a user's")
    before = contents(work)
    for _ in range(2):
        make(tmp_path / "out", source)
        assert contents(work) == before and (work / "parts-of-a-letter").is_dir()
    (work / "options.json").write_text("{}")
    (tmp_path / "out" / "manifest.json").unlink()
    for name in WRITTEN[:4]:
        (tmp_path / "out" / name).unlink()
    (tmp_path / "out" / "tokenizer").rename(tmp_path / "tokenizer")
    (tmp_path / "out" / "cache" / "verified.json").unlink()
    with pytest.raises(DataError, match=r"options\.json: damaged, or not of a build"):
        make(tmp_path / "out", source)
    assert (work / "options.json").read_text() == "{}"


def test_shards_without_manifest_are_not_said_to_be_ours(tmp_path: Path) -> None:
    for name in ("my_text_document.bin", "my_text_document.idx"):
        (tmp_path / name).touch()
    sentence = "has shards but no manifest.json, so apollo-prep did not make them.* stay.* into another folder"
    with pytest.raises(DataError, match=sentence):
        inspect(tmp_path, Console(quiet=True))
    with pytest.raises(UserError, match=f"data: .*{sentence}"):
        Corpus.open(tmp_path)


def test_inspect_draws_over_no_picture_but_its_own(make: Make, source: Path, tmp_path: Path) -> None:
    make(tmp_path / "out", source)
    picture = tmp_path / "out" / "lengths.png"
    for content in (b"another's", b""):
        picture.write_bytes(content)
        with (console := Console(width=200)).capture() as said:
            inspect(tmp_path / "out", console)
        assert f"no picture: {picture} exists and is not from apollo-prep" in said.get()
        assert picture.read_bytes() == content
    picture.unlink()
    for _ in range(2):
        with (console := Console(width=200)).capture() as said:
            inspect(tmp_path / "out", console)
        assert f"the same as a picture: {picture}" in said.get()


def test_a_folder_with_and_without_a_slash_is_one_source(make: Make, texts: list[str], tmp_path: Path) -> None:
    (tmp_path / "books").mkdir()
    write_jsonl(tmp_path / "books" / "a.jsonl", texts)
    manifest = make(tmp_path / "out", f"{tmp_path}/books/")
    assert make(tmp_path / "out", f"{tmp_path}/books") == manifest
