"""Write numbers for a page, and tables of them."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Self

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from apollo_ds.experiments.compare.measures import Spread
from apollo_ds.planning.in_words import loss_in_words

NOTHING = "-"
_GAP = 2
"""The number of spaces between two columns, and at both sides of a table."""
_NARROWEST_NAME = 20
"""A line of a broken name has room for at least this many characters."""


@dataclass(frozen=True)
class Table:
    """Headings and rows of cells."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> list[str]:
        """The table as lines of Markdown, with an empty line at the end."""
        lines = [self.headings, ["---"] * len(self.headings), *self.rows]
        return [*("| " + " | ".join(cells) + " |" for cells in lines), ""]

    def only(self, *headings: str) -> Self:
        """The table with only its first column and these others. Columns that are empty in every row are left out."""
        shown = [self.headings.index(heading) for heading in headings]
        kept = [0, *(number for number in shown if any(row[number] not in ("", NOTHING) for row in self.rows))]
        return type(self)([self.headings[n] for n in kept], [[row[n] for n in kept] for row in self.rows])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table for a terminal. If it is too wide, names are broken into lines, but numbers stay whole."""
        table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        columns = [[heading, *(row[number] for row in self.rows)] for number, heading in enumerate(self.headings)]
        others = [max(map(len, [*heading.split(), *cells])) for heading, *cells in columns[1:]]  # headings fold first
        room = max(options.max_width - _GAP - sum(_GAP + width for width in others), _NARROWEST_NAME)
        names = [_broken(name, room) for name in columns[0][1:]]
        widest = max(len(line) for name in (self.headings[0], *names) for line in name.splitlines())
        table.add_column(self.headings[0], overflow="fold", width=min(widest, room))
        for heading, *cells in columns[1:]:
            longest = max(len(word) for cell in (heading, *cells) for word in cell.split())
            table.add_column(heading, justify="right", overflow="fold", min_width=longest)
        for name, row in zip(names, self.rows, strict=True):
            table.add_row(*(Text(cell) for cell in (name, *row[1:])))
        yield table


_MARK = "\0"


def _broken(name: str, width: int) -> str:
    """A name in lines of at most `width` characters. Lines end behind a comma if possible."""
    marked = re.sub(r",(?=\S)", f",{_MARK} ", name)
    lines = textwrap.wrap(marked, width, break_on_hyphens=False)
    return re.sub(f"{_MARK} ?", "", "\n".join(lines))


def say(console: Console, sentence: str) -> None:
    """Print a sentence. On a terminal it is wrapped at words. Elsewhere it is one line, so that a search finds it."""
    console.print(sentence, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def loss_text(loss: float | None) -> str:
    """A loss in nats per token, as text."""
    if loss is None:
        return NOTHING
    return loss_in_words(loss) if isfinite(loss) else "not finite"


def loss_spread(values: Sequence[float]) -> str:
    """The mean and standard deviation of losses, as text."""
    spread = Spread.of(values)
    return loss_text(spread.mean) + ("" if spread.deviation is None else f" ± {spread.deviation:.4f}")


def signed_spread(values: Sequence[float]) -> str:
    """The mean and standard deviation of differences of losses. The mean has a sign, unless it is 0 to four digits."""
    spread = Spread.of(values)
    mean = f"{spread.mean:+.4f}" if abs(spread.mean) >= 0.00005 else "0.0000"
    return mean + ("" if spread.deviation is None else f" ± {spread.deviation:.4f}")


def flops_spread(values: Sequence[float]) -> str:
    """The mean of costs in FLOPs. Their standard deviation, unless it is 0, is given in percent of the mean."""
    return _relative(Spread.of(values), ".4g")


def tokens_spread(values: Sequence[float]) -> str:
    """The mean of token counts. Their standard deviation, unless it is 0, is given in percent of the mean."""
    return _relative(Spread.of(values), ",.0f")


def seconds_spread(values: Sequence[float]) -> str:
    """The mean of times. Their standard deviation, unless it is 0, is given in percent of the mean."""
    return _relative(Spread.of(values), ",.0f")


def percent_spread(mean: float, values: Sequence[float]) -> str:
    """A percentage, and the standard deviation of the seeds' own percentages, in percentage points."""
    deviation = Spread.of(values).deviation
    return f"{mean:z.1%}" + ("" if deviation is None else f" ± {deviation:.1%}")


def _relative(spread: Spread, form: str) -> str:
    shown = format(spread.mean, form)
    return f"{shown} ± {spread.deviation / spread.mean:.1%}" if spread.deviation else shown
