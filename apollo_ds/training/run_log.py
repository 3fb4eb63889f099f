"""What each process of a run says, by `logging`: sentences in a terminal; in a log, lines with their time and rank."""

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
"""Who shows the live line."""
_TIME = "%Y-%m-%d %H:%M:%S"
_CLEAR_LINE, _SHOW_CURSOR = "\r\x1b[2K", "\x1b[?25h"
_INDENT = " " * 6
"""Of a sentence's further lines in a terminal."""


def start(who: str) -> Console | None:
    """From now on, print on stdout what this process logs, and Python's warnings.

    Args:
        who: `launcher`, or a rank such as `rank 3`.
    Returns:
        The terminal that stdout is; None where it is none.
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
    """A text whose lines say when and by whom: `2026-11-29 11:02:03 [rank 3] ...`; now, where no time is given."""
    stamp = f"{time.strftime(_TIME, time.localtime(seconds))} [{who}] "
    return "\n".join(f"{stamp}{line}" for line in text.splitlines())


def past_live_line(stream: IO[str]) -> str:
    """What a process prints first that is not the one with the live line, so that its own does not follow that."""
    return _CLEAR_LINE if stream.isatty() and not is_plain() else ""


def restore_terminal() -> None:
    """Remove a live line, and show the cursor, where the process that had the live line was killed."""
    if past_live_line(sys.stdout):
        sys.stdout.write(_CLEAR_LINE + _SHOW_CURSOR)
        sys.stdout.flush()


class _Unfailing:
    """An output whose reader may go away, as `tee` does at Ctrl-C, or whose disk may be full. The run goes on."""

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
    """A warning, or what is worse, says that it is one."""

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
    """Prints above the live line, in whole words, and in the colour of `style` where the record has one."""

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
