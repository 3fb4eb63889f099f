"""What processes say: with time and rank in a log, in whole words in a terminal, and no escape sequence elsewhere."""

import errno
import logging
import os
import pty
import re
import sys
import tty
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from select import select

import pytest
from recipes import tiny

from apollo_ds.training import run_log
from apollo_ds.training.console import RunConsole

from .test_step_line import STANDING

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
Shown = Callable[[Callable[[], None]], str]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.captureWarnings(False)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.getLogger("apollo_ds").setLevel(logging.NOTSET)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shown]:
    """What is printed while something is done and stdout is a terminal of 60 columns."""
    outer, inner = pty.openpty()
    tty.setraw(inner)
    for name in ("NO_COLOR", "COLORTERM", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    with open(inner, "w") as stdout:

        def shown(action: Callable[[], None]) -> str:
            with redirect_stdout(stdout):
                action()
            printed = b""
            while select([outer], [], [], 0)[0]:
                printed += os.read(outer, 100_000)
            return printed.decode()

        yield shown
    os.close(outer)


def without_styles(printed: str) -> str:
    return re.sub(r"\x1b\[\d*m", "", printed)


def train(who: str = "rank 0") -> None:
    """What a run shows."""
    console = RunConsole(shown=who == "rank 0", terminal=run_log.start(who))
    console.start(tiny("gpt2", "run"), ranks=2, device="cpu")
    console.begin(0, 100)
    console.step(STANDING)
    console.growth({"step": 5, "from": 3, "to": 6, "loss_before": 7.5, "loss_after": 7.5123})
    console.warn(f"{'/'.join(['folder'] * 9)}: [red]is gone[/]")
    console.finish({"cost": "22.7 TFLOP"})


def test_each_line_of_a_log_has_its_time_and_rank(capsys: pytest.CaptureFixture[str]) -> None:
    train()
    printed, wrong = capsys.readouterr()
    told = [re.sub(f"^{STAMP} ", "", line) for line in printed.splitlines()]
    assert told == [
        "[rank 0] apollo  gpt2 6x32  stages 1-3-6  2 x cpu, zero 1 fp32  seed 42",
        "[rank 0] out run",
        f"[rank 0] {STANDING.logged()}",
        "[rank 0] grow  step 5: 3 -> 6 layers, held-out loss 7.5000 -> 7.5123 (+0.0123)",
        f"[rank 0] warning: {'/'.join(['folder'] * 9)}: [red]is gone[/]",
        "[rank 0] finished",
        "[rank 0] cost: 22.7 TFLOP",
    ]
    assert len(re.findall(f"^{STAMP} ", printed, re.MULTILINE)) == len(told)
    assert wrong == ""


def test_libraries_and_other_ranks_are_heard_too(capsys: pytest.CaptureFixture[str]) -> None:
    run_log.start("rank 3")
    logging.getLogger("some.library").warning("two\nlines")
    logging.getLogger("some.library").info("chatter")
    warnings.warn("out of date", UserWarning, stacklevel=1)
    printed = capsys.readouterr().out.splitlines()
    assert all(re.match(rf"{STAMP} \[rank 3\] ", line) for line in printed)
    assert [line.partition("] ")[2] for line in printed[:2]] == ["warning: two", "lines"]
    assert "UserWarning: out of date" in printed[2]


def test_a_terminal_has_a_line_that_changes_and_others_above_it(terminal: Shown) -> None:
    printed = terminal(train)
    assert STANDING.live(59) in printed
    assert "\x1b[2K" in printed
    assert printed.count("\x1b[?25l") == printed.count("\x1b[?25h") == 1, "the cursor is shown again"
    assert "grow  step 5: 3 -> 6 layers, held-out loss 7.5000 -> 7.5123\n      (+0.0123)\n" in without_styles(printed)
    assert "[red]is gone[/]" in printed
    assert "[rank 0]" not in printed


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_plain_terminal_gets_plain_lines(
    name: str, value: str, terminal: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    printed = terminal(train)
    assert not re.search(r"[\x1b\r]", printed)
    assert STANDING.row(["step", "loss", "tok/s"])[:9] in printed
    assert "the first steps are under way" not in printed


def test_an_empty_no_color_asks_for_nothing(terminal: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    assert "\x1b[" in terminal(train)


def test_another_rank_clears_the_live_line_first(terminal: Shown) -> None:
    def warn() -> None:
        run_log.start("rank 1")
        logging.getLogger("apollo_ds.data").warning("not as it should be")

    assert without_styles(terminal(warn)) == "\r\x1b[2Krank 1: warning: not as it should be\n"
    assert terminal(run_log.restore_terminal) == "\r\x1b[2K\x1b[?25h"


class _Gone:
    """An output that cannot be written to."""

    encoding = "utf-8"

    def __init__(self, number: int) -> None:
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))

    def flush(self) -> None:
        raise OSError(self.number, os.strerror(self.number))

    def isatty(self) -> bool:
        return self.number == errno.EIO


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EIO])
def test_a_run_goes_on_where_nobody_reads(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", _Gone(number))
    monkeypatch.setenv("TERM", "xterm")
    train()
    assert capsys.readouterr().err == ""


def test_a_hidden_console_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    train("rank 1")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("no_color", "told"), [("", "\r\x1b[2K"), ("1", "")])
def test_past_a_live_line(no_color: str, told: str, terminal: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    assert terminal(lambda: print(run_log.past_live_line(sys.stdout))) == f"{told}\n"
