"""How `apollo-prep` ends: in one sentence, whatever goes wrong."""

import errno
import io
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from texts import make_texts, write_jsonl

from data_prep import __main__ as command
from data_prep.commands import inspect as inspecting
from data_prep.errors import DataError

BPE = ("--tokenizer", "bpe", "--vocab-size", "300", "--workers", "1")


def ends(*arguments: str | Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["apollo-prep", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            command.main()
    return int(str(end.value.code))


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("a: b"), 2, "a: b"),
        (OSError(errno.ENOSPC, "full"), 2, "the disk is full: free some space and run the same command again"),
        (OSError(errno.EROFS, "no", "/data"), 2, "/data: the disk is read-only: make it writable, or name another"),
        (MemoryError(), 2, "the memory is used up: free some, or use a machine with more"),
        (BrokenPipeError(errno.EPIPE, "no"), 2, "the program that read the output has ended"),
        (KeyError("x"), 70, "this is a bug in apollo-prep (KeyError: 'x'); the traceback is in "),
        (KeyboardInterrupt(), 130, "stopped; the same command continues"),
    ],
)
def test_whatever_is_raised_ends_in_one_line(
    error: BaseException,
    code: int,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def inspect(*_: object) -> None:
        raise error

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(inspecting, "inspect_shards", inspect)
    monkeypatch.setattr(command.os, "dup2", lambda *_: None)  # the tests' own output stays where it is
    assert ends("inspect", "x") == code
    said = capsys.readouterr().err
    assert said.startswith(f"apollo-prep: {line}") and said.count("\n") == 1
    assert len(list(tmp_path.iterdir())) == (code == 70)


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("a.jsonl", "a.jsonl/work: a file is where a folder should be: move it away, or name another place"),
        ("a.jsonl/x", "a.jsonl/x/work: a file is where a folder should be: move it away, or name another place"),
        ("taken", "taken/work: a file or folder of that name is in the way: move it away, or name another place"),
        ("x" * 256, "train.bin: the name is too long: give a shorter one"),
        ("done", "done/manifest.json: damaged, or not from apollo-prep: restore it, or build"),
    ],
)
def test_what_stands_where_shards_are_to_be_is_named(
    out: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", ["one text", "another text"])
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "work").touch()
    (tmp_path / "done" / "manifest.json").mkdir(parents=True)
    assert ends("build", "--source", source, "--tokenizer", "bpe", "--out", tmp_path / out) == 2
    said = capsys.readouterr().err
    assert said.startswith("apollo-prep: ") and sentence in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--workers=0", "--workers 0: must be at least 1"),
        ("--workers=-1", "--workers -1: must be at least 1"),
        ("--validation-fraction=nan", "--validation-fraction nan: must be at least 0 and below 1"),
        ("--weight=a=nan", "--weight a=nan: must be above 0 and below 1000"),
        ("--weight=a=1 --weight=a=2", "--weight a=2: a has the weight 1.0 already: give one"),
        ("--min-characters=-1", "--min-characters -1: must be at least 0"),
        (f"--vocab-size={10**30}", f"--vocab-size {10**30}: must be at most 4194304"),
        ("--source=b=\udcff.txt", r"'--source=b=\udcff.txt' is not UTF-8: rename the file or folder"),
        ("--source=b=no\nsuch\x1b[31m", r"no\nsuch\x1b[31m: there is no such file or folder"),
    ],
)
def test_a_value_that_cannot_be_is_told_in_one_line(
    option: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", ["one text", "another text"])
    given = ["--source", source, "--tokenizer", "bpe", "--out", tmp_path / "out"]
    assert ends("build", *given, *option.split(" ")) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"apollo-prep: {sentence}") and said.count("\n") == 1


def test_brackets_in_names_are_no_markup(
    tmp_path: Path, tokenizers: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "[red]books[").mkdir()
    source = write_jsonl(tmp_path / "[red]books[" / "a.jsonl", make_texts(5))
    (source.parent / "[").mkdir()
    (source.parent / "[" / "b].csv").touch()
    given = ["--source", source.parent, "--tokenizer", tokenizers["bpe"], "--out", tmp_path / "out[" / "x]"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["apollo-prep", "build", *map(str, given)])
        command.main()
    said = capsys.readouterr().out
    assert f"{source.parent}: 1 file was left out: {source.parent}/[/b].csv\n" in said
    assert "[red]books[  5 " in said and f"{tmp_path}/out[/x]/manifest.json" in said


def test_output_that_nobody_reads_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(command.os, "dup2", lambda *_: None)  # the tests' own output stays where it is
    monkeypatch.setattr(inspecting, "inspect_shards", lambda _, console: console.print("something"))
    with suppress(BrokenPipeError), os.fdopen(writing, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert ends("inspect", tmp_path) == 2
    assert capsys.readouterr().err == "apollo-prep: the program that read the output has ended\n"


def test_a_terminal_may_lack_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspecting, "inspect_shards", lambda _, console: console.print("█ ü"))
    monkeypatch.setattr(sys, "stdout", said := io.TextIOWrapper(io.BytesIO(), "ascii"))
    monkeypatch.setattr(sys, "argv", ["apollo-prep", "inspect", str(tmp_path)])
    command.main()
    assert said.buffer.getvalue() == b"? ?\n"  # type: ignore[attr-defined]


def test_output_may_be_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspecting, "inspect_shards", lambda _, console: console.print("something"))
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "argv", ["apollo-prep", "inspect", str(tmp_path)])
    command.main()


def test_a_home_is_found_wherever_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell expands `--out=~/text` or `--source NAME=~/text`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write_jsonl(tmp_path / "a.jsonl", make_texts(20))
    monkeypatch.setattr(sys, "argv", ["apollo-prep", "build", "--source", "a=~/a.jsonl", "--out=~/out", *BPE])
    command.main()
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_a_folder_without_a_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends("build", "--source", "a.jsonl", "--out", "", *BPE) == 2
    assert (
        capsys.readouterr().err == "apollo-prep: --out: is empty; name a file or folder; see apollo-prep build --help\n"
    )
