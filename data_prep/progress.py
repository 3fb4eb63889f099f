"""Show the progress of long work: a bar in a terminal, or a line with the time for each tenth in a log."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

_LINES = 10


@contextmanager
def shown(doing: str, total: int, console: Console, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show the progress of work on `total` bytes, of which `done` are done already.

    The context gives a function. Call it with the number of bytes of each further piece of work. `doing` is a verb,
    such as `encode`.
    """
    if not console.is_terminal:
        yield _Lines(doing, total, console, done).add
        return
    columns = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(doing, total=total, completed=done)
        yield lambda more: progress.advance(bar, more)


class _Lines:
    def __init__(self, doing: str, total: int, console: Console, done: int) -> None:
        self._doing, self._total, self._console, self._done = doing, total, console, done

    def add(self, more: int) -> None:
        tenths_before = self._tenths
        self._done += more
        if self._tenths > tenths_before:
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            line = f"{now} {self._doing} {decimal(self._done)} of {decimal(self._total)}"
            self._console.print(line, highlight=False, soft_wrap=True)

    @property
    def _tenths(self) -> int:
        return _LINES * self._done // max(1, self._total)
