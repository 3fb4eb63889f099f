"""Wrong input by the thousand: each is taken or refused in one sentence; anything else is counted as a fault."""

import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

REFUSED, TAKEN, WRONG, TRACEBACK = OUTCOMES = ("refused in a sentence", "taken", "TAKEN, BUT WRONG", "TRACEBACK")
_LONGEST_SENTENCE = 1600


@dataclass(frozen=True)
class Draw:
    """Something wrong, perhaps, that is given to a program."""

    kind: str
    """The population that it is a sample of: a row of the table."""
    what: str
    """So that a person can try it again."""
    act: Callable[[], str | None]
    """Gives it to the program. Raises what the program refuses with; returns what is wrong with what it took."""


@dataclass(frozen=True)
class Tried:
    """A draw, and what came of it."""

    draw: Draw
    outcome: str
    said: str

    def __str__(self) -> str:
        return f"{self.draw.kind}: {self.draw.what[:300]}: {self.outcome}: {self.said}"

    @property
    def is_fault(self) -> bool:
        """Whether no user may see it."""
        return self.outcome in (WRONG, TRACEBACK)


def try_all(draws: Iterable[Draw], *refusals: type[Exception], seconds: int = 10) -> list[Tried]:
    """Try draws whose program refuses with these exceptions; prints the faults. What takes longer is one of them."""
    tried = []
    for draw in draws:
        tried.append(_try(draw, refusals, seconds))
        if tried[-1].is_fault:
            print(tried[-1], flush=True)
    return tried


def _try(draw: Draw, refusals: tuple[type[Exception], ...], seconds: int) -> Tried:
    try:
        with _in_time(seconds):
            wrong = draw.act()
    except refusals as error:
        said = str(error)
        is_sentence = said.isprintable() and 0 < len(said) <= _LONGEST_SENTENCE
        return Tried(draw, REFUSED if is_sentence else TRACEBACK, said)
    except Exception:
        return Tried(draw, TRACEBACK, traceback.format_exc(limit=-3))
    return Tried(draw, WRONG if wrong else TAKEN, wrong or "")


@contextmanager
def _in_time(seconds: int) -> Iterator[None]:
    def end(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def table(tried: Iterable[Tried], key: Callable[[Tried], Any] = lambda one: one.draw.kind) -> list[str]:
    """Markdown: how many draws of each kind came to what."""
    counts: dict[Any, Counter[str]] = {}
    for one in tried:
        counts.setdefault(key(one), Counter())[one.outcome] += 1
    rows = [f"| | draws | {' | '.join(OUTCOMES)} |", f"|---|{'---|' * (len(OUTCOMES) + 1)}"]
    for name, counted in counts.items():
        rows.append(f"| {name} | {counted.total()} | {' | '.join(str(counted[outcome]) for outcome in OUTCOMES)} |")
    return rows
