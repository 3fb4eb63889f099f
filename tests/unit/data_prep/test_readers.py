"""Documents come out as they went in, however the files are cut, and bad files are named."""

import gzip
import json
import re
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from texts import make_texts, write_jsonl, write_parquet

from data_prep import readers, sources
from data_prep.errors import DataError
from data_prep.sources import Source


def read_all(location: Path, column: str = "text") -> list[str]:
    parts = sources.plan(Source("s", str(location)), column, location.parent)
    return [text for part in parts for span in part.spans for text in readers.read(span, column)]


@pytest.fixture(params=[100, 3_000, 1 << 25])
def part_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sources, "PART_BYTES", request.param)
    return request.param


def test_jsonl_is_the_same_however_cut(tmp_path: Path, part_bytes: int) -> None:
    texts = [*make_texts(30), "", "last"]
    assert read_all(write_jsonl(tmp_path / "a.jsonl", texts)) == texts


def test_parquet_is_the_same_however_cut(tmp_path: Path, part_bytes: int) -> None:
    texts = make_texts(100)
    assert read_all(write_parquet(tmp_path / "a.parquet", texts, row_group_size=37)) == texts


def test_text_loses_nothing(tmp_path: Path, part_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "TEXT_DOCUMENT_BYTES", 500)
    text = "\n".join(make_texts(10)) + "\r\nno line end at the end"
    (tmp_path / "a.txt").write_bytes(text.encode())
    documents = read_all(tmp_path / "a.txt")
    assert "".join(documents) == text
    assert len(documents) > 10


def test_a_small_text_file_is_one_document_without_its_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffOne.\n\nTwo.\n".encode())
    assert read_all(tmp_path / "a.txt") == ["One.\n\nTwo.\n"]


def test_compressed_jsonl(tmp_path: Path) -> None:
    texts = make_texts(20)
    plain = write_jsonl(tmp_path / "a.jsonl", texts).read_bytes()
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(plain[:1000]) + gzip.compress(plain[1000:]))
    with pyarrow.output_stream(tmp_path / "c.jsonl.zst", compression="zstd") as stream:
        stream.write(plain)
    assert read_all(tmp_path / "b.jsonl.gz") == texts
    assert read_all(tmp_path / "c.jsonl.zst") == texts


def test_folders_and_globs_are_read_in_order_of_their_paths(tmp_path: Path) -> None:
    folder = tmp_path / "books [old]"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "2.txt").write_text("two")
    (folder / "1.txt").write_text("one")
    write_jsonl(folder / "c.jsonl", ["three"])
    (folder / "notes.md").write_text("not read")
    assert read_all(folder) == ["one", "two", "three"]
    assert read_all(tmp_path / "*" / "*.txt") == ["one"]


def test_small_files_share_a_part(tmp_path: Path) -> None:
    for i in range(50):
        (tmp_path / f"{i:02}.txt").write_text(f"file {i}")
    assert len(sources.plan(Source("s", str(tmp_path)), "text", tmp_path)) == 1


def test_null_texts_are_empty_and_half_surrogates_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": null}\n{"text": "a \\ud800 b"}\n')
    assert read_all(tmp_path / "a.jsonl") == ["", "a ? b"]


def test_hub_data_sets_are_streamed_shard_by_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub itself is replaced by a local data set of two shards; streaming and sharding are the real ones."""
    import datasets
    import huggingface_hub

    texts = make_texts(20)
    shards = [str(write_parquet(tmp_path / f"{i}.parquet", texts[10 * i : 10 * i + 10])) for i in range(2)]
    asked = []
    load = datasets.load_dataset

    def load_local(name: str, config: str | None, **options: object) -> object:
        asked.append((name, config, options["revision"]))
        return load("parquet", data_files=shards, split=options["split"], streaming=options["streaming"])

    monkeypatch.setattr(huggingface_hub, "dataset_info", lambda name: type("Info", (), {"sha": "abc"}))
    monkeypatch.setattr(datasets, "load_dataset", load_local)
    parts = sources.plan(Source("wiki", "wikimedia/wikipedia:20231101.en"), "text", tmp_path)
    assert len(parts) == 2
    assert [text for part in parts for span in part.spans for text in readers.read(span, "text")] == texts
    assert set(asked) == {("wikimedia/wikipedia", "20231101.en", "abc")}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"good\nb\xe9d\n", r"a\.txt: line 2 is not valid UTF-8: if the file is of LATIN1, convert it"),
        ("a.jsonl", b'{"text": "x"}\n\n{"text": "b\xe9d"}\n', r"a\.jsonl: line 3 is not valid UTF-8"),
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', r"a\.jsonl: line 2 is not JSON .*: write one JSON object a line"),
        ("a.jsonl", b'{"id": 1, "body": "x"}\n', r"line 1 has no 'text': choose --text-column among body"),
        ("a.jsonl", b'{"text": 5}\n', r"a\.jsonl: line 1 has a number as 'text': write a text there"),
        ("a.jsonl", b"5\n", r"line 1 is a number, not an object: write one JSON object a line"),
        ("a.txt", b"", r"a\.txt: holds no text: give a file that is not empty"),
        ("a.parquet", b"", r"a\.parquet: cannot be read \(.*\): mend or replace it"),
        ("a.jsonl.gz", gzip.compress(b'{"a": "x"}' * 99, mtime=0)[:30], r"a\.jsonl\.gz: cannot be read \(.*\): mend"),
        ("a.jsonl.zst", b"not compressed", r"a\.jsonl\.zst: cannot be read \(.*\): mend"),
        ("a.csv", b"x", r"a\.csv: not a file that is read: give one named \.txt, \.jsonl"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_all(tmp_path / name)


def test_bad_parquet_is_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", ["x"])
    with pytest.raises(
        DataError, match=r"a\.parquet: has no column 'body': choose --text-column among title, text; it"
    ):
        read_all(path, "body")
    text = pyarrow.Array.from_buffers(
        pyarrow.string(), 2, [None, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0"), pyarrow.py_buffer(b"ab\xe9")]
    )
    pyarrow.parquet.write_table(pyarrow.table({"text": text}), path)
    with pytest.raises(DataError, match=r"a\.parquet: row 1 is not valid UTF-8"):
        read_all(path)
    pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), path)
    with pytest.raises(DataError, match=r"a\.parquet: holds no text"):
        read_all(path)


def test_sources_that_are_nowhere(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}/none: no file named .txt")):
        read_all(tmp_path / "none")


def test_names_of_sources() -> None:
    given = ["docs", "data/books.jsonl.gz", "wiki=wikimedia/wikipedia:20231101.en", "texts/", "more/*.txt"]
    assert [source.name for source in sources.parse(given)] == ["docs", "books", "wiki", "texts", "source"]
    assert sources.parse(given)[2].location == "wikimedia/wikipedia:20231101.en"
    with pytest.raises(DataError, match="two sources are named 'a': tell them apart"):
        sources.parse(["x/a.txt", "y/a.txt"])
    with pytest.raises(DataError, match="--source 'books=' is empty"):
        sources.parse(["books="])


def test_a_part_is_another_when_its_file_changes(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", ["one"])
    before = sources.plan(Source("s", str(path)), "text", tmp_path)[0].key
    assert sources.plan(Source("s", str(path)), "text", tmp_path)[0].key == before
    path.write_text(json.dumps({"text": "other"}) + "\n")
    assert sources.plan(Source("s", str(path)), "text", tmp_path)[0].key != before
