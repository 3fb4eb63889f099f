"""Documents come out as they went in, however the files are cut, and bad files are named."""

import bz2
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from texts import make_texts, write_jsonl, write_parquet

from data_prep import lines, parquet, readers, sources
from data_prep.errors import DataError
from data_prep.sources import Source

BOM = "\ufeff"


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


@pytest.mark.parametrize("name", ["a.jsonl", "a.NDJSON", "a.Jsonl", "a.txt", "a.TXT"])
@pytest.mark.parametrize("packed", ["", ".gz", ".zst", ".BZ2"])
def test_names_tell_format_and_compression(tmp_path: Path, name: str, packed: str) -> None:
    texts = make_texts(20)
    plain = write_jsonl(tmp_path / "plain", texts).read_bytes()
    content = {
        "": lambda: plain,
        ".gz": lambda: gzip.compress(plain[:1000]) + gzip.compress(plain[1000:]),
        ".zst": lambda: pyarrow.compress(plain, codec="zstd", asbytes=True),
        ".BZ2": lambda: bz2.compress(plain[:1000]) + bz2.compress(plain[1000:]),
    }
    (tmp_path / (name + packed)).write_bytes(content[packed]())
    assert read_all(tmp_path / (name + packed)) == ([plain.decode()] if "t" in name.lower() else texts)


def test_empty_files_among_others_hold_no_documents(tmp_path: Path) -> None:
    for name, content in (("1.jsonl.gz", b""), ("2.jsonl.gz", gzip.compress(b"")), ("3.txt", b""), ("4.txt.bz2", b"")):
        (tmp_path / name).write_bytes(content)
    write_jsonl(tmp_path / "5.jsonl", ["one"])
    assert read_all(tmp_path) == ["one"]


def test_byte_order_marks_of_joined_files_and_odd_values_beside_the_text_are_passed_over(tmp_path: Path) -> None:
    others = ["null", "NaN", "-Infinity", "9" * 5000, "1e999", '{"n": 1, "n": 2}', '"\\ud800"']
    rows = [f'{BOM}{{"label": {value}, "text": "{i}"}}\r\n{BOM}\n' for i, value in enumerate(others)]
    (tmp_path / "a.jsonl").write_bytes("".join(rows).encode())
    assert read_all(tmp_path / "a.jsonl") == [str(i) for i in range(len(others))]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("start", [0, 1, 50])
def test_a_line_longer_than_the_bound_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool, start: int
) -> None:
    monkeypatch.setattr(lines, "LONGEST_TEXT_BYTES", 1000)
    rows = [b"x" * 999 + b"\n"] * start + [b"y" * 100_000 + b"\n", b"z\n"]
    path = tmp_path / ("a.txt.gz" if packed else "a.txt")
    path.write_bytes(gzip.compress(b"".join(rows)) if packed else b"".join(rows))
    for part_bytes in (1 << 25, 3_000):
        monkeypatch.setattr(sources, "PART_BYTES", part_bytes)
        with pytest.raises(
            DataError, match=rf"a\.txt.*: line {start + 1} is longer than 0 MiB, the most that is allowed: break"
        ):
            read_all(path)
    path.write_bytes(gzip.compress(b"".join(rows[:start])) if packed else b"".join(rows[:start]) + b"z")
    assert sum(map(len, read_all(path))) == 1000 * start + (not packed)


def test_a_text_of_a_row_longer_than_the_bound_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "LONGEST_TEXT_BYTES", 1000)
    fits = write_parquet(tmp_path / "fits.parquet", ["x" * 1000, "y"] * 50)
    assert read_all(fits) == ["x" * 1000, "y"] * 50
    with pytest.raises(
        DataError, match=r"one\.parquet: row 70 holds a text longer than 0 MiB, the most that is allowed: break"
    ):
        read_all(write_parquet(tmp_path / "one.parquet", [*"x" * 70, "y" * 1001, *"z" * 70]))
    monkeypatch.setattr(parquet, "read", None)  # nothing is read where the sizes tell
    with pytest.raises(DataError, match=r"all\.parquet: row group 1 holds a text longer"):
        read_all(write_parquet(tmp_path / "all.parquet", ["x", "y" * 5000], row_group_size=1))


def test_rows_that_may_be_large_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BYTES_AT_ONCE", 100)
    texts = make_texts(10)
    assert read_all(write_parquet(tmp_path / "a.parquet", texts)) == texts


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
        ("a.txt", b"good\nb\xe9d\n", r"a\.txt: line 2 is not valid UTF-8: find out the file's encoding"),
        ("a.txt", "中文\n".encode("utf-16-le"), r"line 1 is not valid UTF-8: (find out|if the file is of UTF-16LE)"),
        ("a.txt", "Hi\n".encode("utf-32-le"), r"line 1 is not valid UTF-8: if the file is of UTF-32LE, convert it"),
        ("a.txt", "Hi\n".encode("utf-32-be"), r"line 1 is not valid UTF-8: if the file is of UTF-32BE, convert it"),
        (
            "a.jsonl",
            gzip.compress(b'{"text": "x"}\n', mtime=0),
            r"a\.jsonl: is compressed by gzip, whatever its name: name",
        ),
        ("a.txt", b"PK\x03\x04\x14\0\0\0\x08\0\xff", r"a\.txt: is a zip archive, whatever its name: unpack it"),
        ("a.jsonl", b'{"text": "x"}\n\n{"text": "b\xe9d"}\n', r"a\.jsonl: line 3 is not valid UTF-8"),
        (
            "a.txt",
            "Grüße\n".encode("utf-16"),
            r"line 1 is not valid UTF-8: if the file is of UTF-16, convert it \(iconv -f",
        ),
        ("a.txt", "Hi\n".encode("utf-16-le"), r"line 1 is not valid UTF-8: if the file is of UTF-16LE, convert it"),
        ("a.txt", "Hi\n".encode("utf-16-be"), r"line 1 is not valid UTF-8: if the file is of UTF-16BE, convert it"),
        ("a.txt", "Hi\n".encode("utf-32"), r"line 1 is not valid UTF-8: if the file is of UTF-32, convert it"),
        (
            "a.jsonl",
            '{"text": "x"}\n'.encode("utf-16"),
            r"a\.jsonl: line 1 is not valid UTF-8: if .* of UTF-16, convert",
        ),
        ("a.jsonl", b'{"text": "x", "text": "y"}\n', r"a\.jsonl: line 1 has the key 'text' twice: keep one"),
        ("a.jsonl", b'{"text": [], "body": "x"}\n', r"line 1 has a list as 'text': choose --text-column among body$"),
        ("a.jsonl", b'{"text": NaN}\n', r"line 1 has a number as 'text': write a text there"),
        ("a.jsonl", b'{"text": true}\n', r"line 1 has true or false as 'text': write a text there"),
        ("a.jsonl", b'{"text": {"a": 1}}\n', r"line 1 has an object as 'text': write a text there"),
        ("a.jsonl", b"9" * 5000, r"line 1 is a number, not an object"),
        ("a.jsonl", b"\n" + b"[" * 50_000 + b"]" * 50_000, r"line 2 has brackets within brackets, thousands deep"),
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


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"text": [b"x"], "title": ["t"]},
            r"holds binary, not text: choose --text-column among title; it has text \(b",
        ),
        ({"text": [b"x"]}, r"column 'text' holds binary, not text: write the text as a column of type string; it has"),
        ({"text": pyarrow.nulls(2)}, "column 'text' holds null, not text: write the text as a column of type string"),
        ({"text": [["x"]]}, "column 'text' holds list<element: string>, not text: write"),
        ({"n": [1]}, r"has no column 'text': write the text as a column of type string; it has n \(int64\)"),
        ([("text", ["x"]), ("text", ["y"])], "has 2 columns named 'text': rename all but one"),
        ({}, "has no column 'text': .*; it has no columns"),
    ],
)
def test_a_parquet_file_without_a_text_column_tells_its_types(tmp_path: Path, columns: Any, message: str) -> None:
    pairs = columns if isinstance(columns, list) else list(columns.items())
    table = pyarrow.Table.from_arrays([pyarrow.array(values) for _, values in pairs], names=[name for name, _ in pairs])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=rf"a\.parquet: .*{message}"):
        read_all(tmp_path / "a.parquet")


def test_damage_that_a_checksum_tells_is_named(tmp_path: Path) -> None:
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    path = write_parquet(tmp_path / "a.parquet", ["some text"] * 9, write_page_checksum=True, **plain)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"some text", b"sane text", 1))
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read \(.*\): mend or replace it"):
        read_all(path)


def test_sources_that_are_nowhere(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}/none: there is no such file or folder")):
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
