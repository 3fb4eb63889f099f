"""What the axes of a figure of runs show: units, and the part of a curve that is worth looking at."""

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

_DURATIONS = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
_PREFIXES = (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))
_BEGINNING = 0.05
"""Part of the lower axis after which a curve has to be seen whole."""
_FEW = 12
"""Points of a curve up to which all of it has to be seen: what its beginning is cannot be told from so few."""
_WORTH = 1.5
"""What lies above is shown too where the axis need not span more than so many times as much for it."""
_ROOM = 0.05
"""Above and below what is shown, as a part of it."""
_AROUND_ONE = 0.1
"""Nats above and below a single loss."""


def axis_of(currency: str, largest: float) -> tuple[str, float]:
    """The label of an axis of `flops`, `tokens` or `seconds`, and the unit that its numbers are to be divided by."""
    units = _DURATIONS if currency == "seconds" else _PREFIXES
    name, unit = next(((name, unit) for name, unit in units if largest >= 2 * unit), units[-1])
    if currency == "seconds":
        return f"time ({name})", unit
    if currency == "flops":
        return f"training cost ({name}FLOPs)", unit
    return f"text ({name} tokens)" if name else "text (tokens)", unit


def show_costs(axes: Axes, largest: float) -> None:
    """A lower axis from 0 to the largest number, with separators from a thousand on."""
    axes.set_xlim(0, 1.01 * largest or 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def show_curves(
    axes: Axes, curves: Sequence[Sequence[tuple[float, float]]], spikes: Iterable[tuple[float, float]] = ()
) -> tuple[float, float]:
    """Choose the left axis so that curves through these points can be read, and return its limits.

    Losses fall steeply in the first steps, and may jump at growths (`spikes`). What of this would press the rest
    together is above the axes.
    """
    known, above = (_finite(points) for points in (chain(*curves), spikes))
    if not len(known):
        return axes.get_ylim()
    beginning = _BEGINNING * known[:, 0].max() if max(map(len, curves)) > _FEW else -np.inf
    later = known[known[:, 0] > beginning, 1]
    low, high = known[:, 1].min(), later.max()
    losses = np.concatenate([known[:, 1], above[:, 1]])
    high = losses[losses <= low + _WORTH * (high - low)].max(initial=high)
    room = _ROOM * (high - low) or _AROUND_ONE
    axes.set_ylim(float(low - room), float(high + room))
    return axes.get_ylim()


def _finite(points: Iterable[tuple[float, float]]) -> npt.NDArray[np.float64]:
    """Shape (points, 2)."""
    found = np.array(list(points), dtype=float).reshape(-1, 2)
    return found[np.isfinite(found).all(axis=1)]
