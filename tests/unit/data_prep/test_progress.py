"""How far a long piece of work is, in a terminal and in a log."""

import re

import pytest

from data_prep import progress
from data_prep.output import Output


def work(done: int = 0) -> None:
    with progress.shown("encode", 1000, Output(), done) as add:
        for _ in range(done, 1000, 50):
            add(50)


def test_a_log_has_a_line_for_each_tenth(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    work()
    lines = capsys.readouterr().out.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d encode \d", line) for line in lines)
    assert [line.partition(" encode ")[2] for line in lines] == [
        *(f"{tenth}00 bytes of 1.0 kB" for tenth in range(1, 10)),
        "1.0 kB of 1.0 kB",
    ]


def test_what_was_done_before_counts(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    work(done=850)
    assert [line.partition(" encode ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "900 bytes of 1.0 kB",
        "1.0 kB of 1.0 kB",
    ]


def test_a_terminal_has_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NO_COLOR": "", "TERM": "xterm", "FORCE_COLOR": "1", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    work()
    printed = capsys.readouterr().out
    assert "━" in printed and "1.0/1.0 kB" in printed


def test_work_on_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with progress.shown("read", 0, Output()) as add:
        add(0)
    assert capsys.readouterr().out == ""
