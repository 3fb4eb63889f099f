"""How `apollo-prep` ends: in one sentence, whatever goes wrong."""

import errno
import sys
from pathlib import Path

import pytest
from texts import write_jsonl

from data_prep import __main__ as command
from data_prep.errors import DataError


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
        (BrokenPipeError(errno.EPIPE, "no"), 2, "what read the output has ended"),
        (KeyError("x"), 70, "this is a fault of apollo-prep's own (KeyError: 'x'); the traceback is in "),
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
    monkeypatch.setattr(command, "inspect", inspect)
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
