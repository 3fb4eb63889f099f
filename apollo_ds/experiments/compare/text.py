"""Numbers as a page shows them, and tables of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from apollo_ds.experiments.compare.measures import Spread

NOTHING = "-"


@dataclass(frozen=True)
class Table:
    """Headings and rows of cells."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> list[str]:
        """Its lines, and an empty one after them."""
        lines = [self.headings, ["---"] * len(self.headings), *self.rows]
        return [*("| " + " | ".join(cells) + " |" for cells in lines), ""]

    def for_console(self) -> RichTable:
        """The same for a terminal: where it is too wide, names go on in further lines, and numbers stay whole."""
        table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for number, heading in enumerate(self.headings):
            longest = max((len(word) for row in self.rows for word in row[number].split()), default=0)
            table.add_column(
                heading,
                justify="right" if number else "left",
                overflow="fold",
                min_width=max(longest, *map(len, heading.split())) if number else None,
            )
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        return table


def loss_text(loss: float | None) -> str:
    """Nats per token."""
    if loss is None:
        return NOTHING
    return f"{loss:.4f}" if isfinite(loss) else "not finite"


def loss_spread(values: Sequence[float]) -> str:
    """Mean and standard deviation of losses."""
    spread = Spread.of(values)
    return loss_text(spread.mean) + ("" if spread.deviation is None else f" ± {spread.deviation:.4f}")


def signed_spread(values: Sequence[float]) -> str:
    """Mean and standard deviation of differences of losses; the mean has a sign, unless it is 0 to four digits."""
    spread = Spread.of(values)
    mean = f"{spread.mean:+.4f}" if abs(spread.mean) >= 0.00005 else "0.0000"
    return mean + ("" if spread.deviation is None else f" ± {spread.deviation:.4f}")


def flops_spread(values: Sequence[float]) -> str:
    """Mean of costs in FLOPs, and their standard deviation, unless it is 0, as a part of it."""
    return _relative(Spread.of(values), ".4g")


def tokens_spread(values: Sequence[float]) -> str:
    """Mean of token counts, and their standard deviation, unless it is 0, as a part of it."""
    return _relative(Spread.of(values), ",.0f")


def seconds_spread(values: Sequence[float]) -> str:
    """Mean of times, and their standard deviation, unless it is 0, as a part of it."""
    return _relative(Spread.of(values), ",.0f")


def percent_spread(mean: float, values: Sequence[float]) -> str:
    """A percentage, and the standard deviation of the seeds' own in percentage points."""
    deviation = Spread.of(values).deviation
    return f"{mean:z.1%}" + ("" if deviation is None else f" ± {deviation:.1%}")


def _relative(spread: Spread, form: str) -> str:
    shown = format(spread.mean, form)
    return f"{shown} ± {spread.deviation / spread.mean:.1%}" if spread.deviation else shown
