"""Set up `logging` for a process of a run: plain sentences in a terminal, lines with time and rank in a log."""

import logging
import sys
import time
from contextlib import suppress
from textwrap import fill
from typing import IO, Any, cast

from rich.console import Console
from rich.text import Text

from data_prep.plain import is_plain

FIRST = "rank 0"
"""The process that shows the live line."""
_TIME = "%Y-%m-%d %H:%M:%S"
_CLEAR_LINE, _SHOW_CURSOR = "\r\x1b[2K", "\x1b[?25h"
_INDENT = " " * 6
"""The indentation of a sentence's second and later lines in a terminal."""


def start(who: str) -> Console | None:
    """Print this process's log records and Python's warnings on stdout from now on.

    Args:
        who: `launcher`, or a rank such as `rank 3`.
    Returns:
        A console if stdout is a terminal, else None.
    """
    stdout = cast(IO[str], _Unfailing(sys.stdout))
    terminal = Console(file=stdout, highlight=False, color_system=None if is_plain() else "auto")
    handler: logging.Handler = _ToTerminal(terminal, who) if stdout.isatty() else logging.StreamHandler(stdout)
    handler.setFormatter(_Sentence() if stdout.isatty() else _Stamped(who))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("apollo_ds").setLevel(logging.INFO)
    logging.captureWarnings(True)
    return terminal if stdout.isatty() else None


def stamped(text: str, who: str, seconds: float | None = None) -> str:
    """Put a time and a process in front of each line, such as `2026-11-29 11:02:03 [rank 3] ...`.

    `seconds` is the time since 1970; None for now.
    """
    stamp = f"{time.strftime(_TIME, time.localtime(seconds))} [{who}] "
    return "\n".join(f"{stamp}{line}" for line in text.splitlines())


def past_live_line(stream: IO[str]) -> str:
    """The text that a process without the live line prints first, so that its output begins on a new line."""
    return _CLEAR_LINE if stream.isatty() and not is_plain() else ""


def restore_terminal() -> None:
    """Remove the live line and show the cursor again, if the process with the live line was killed."""
    if past_live_line(sys.stdout):
        sys.stdout.write(_CLEAR_LINE + _SHOW_CURSOR)
        sys.stdout.flush()


class _Unfailing:
    """An output that never fails, even if its reader ends (as `tee` does at Ctrl-C) or its disk is full."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Sentence(logging.Formatter):
    """Puts the level in front of warnings and errors."""

    def format(self, record: logging.LogRecord) -> str:
        kind = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return kind + super().format(record)


class _Stamped(_Sentence):
    def __init__(self, who: str) -> None:
        super().__init__()
        self._who = who

    def format(self, record: logging.LogRecord) -> str:
        return stamped(super().format(record), self._who, record.created)


class _ToTerminal(logging.Handler):
    """Prints above the live line, without breaking words, and in the record's `style` if it has one."""

    def __init__(self, terminal: Console, who: str) -> None:
        super().__init__()
        self._terminal = terminal
        self._is_first = who == FIRST
        self._speaker = f"{who}: " if who.startswith("rank") and not self._is_first else ""

    def emit(self, record: logging.LogRecord) -> None:
        lines = (self._speaker + self.format(record)).splitlines()
        width = self._terminal.width
        text = "\n".join(
            fill(line, width, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False)
            for line in lines
        )
        style = getattr(record, "style", "yellow" if record.levelno >= logging.WARNING else "")
        if not self._is_first:
            self._terminal.file.write(past_live_line(self._terminal.file))
        self._terminal.print(Text(text, style), soft_wrap=True)
