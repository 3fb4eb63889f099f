"""Set up the axes of a figure of runs: units, and the part of the curves that is shown."""

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

_DURATIONS = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
_PREFIXES = (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))
_BEGINNING = 0.05
"""After this fraction of the lower axis, all of a curve must be visible."""
_FEW = 12
"""All of a curve with at most this many points must be visible: so few points do not show where its beginning ends."""
_WORTH = 1.5
"""Points above are shown too if this makes the axis at most this many times as long."""
_ROOM = 0.05
"""The space above and below the curves, as a fraction of their height."""
_AROUND_ONE = 0.1
"""The space above and below a single loss, in nats."""


def axis_of(currency: str, largest: float) -> tuple[str, float]:
    """The label of an axis of `flops`, `tokens` or `seconds`, and the unit by which to divide its numbers."""
    units = _DURATIONS if currency == "seconds" else _PREFIXES
    name, unit = next(((name, unit) for name, unit in units if largest >= 2 * unit), units[-1])
    if currency == "seconds":
        return f"time ({name})", unit
    if currency == "flops":
        return f"training cost ({name}FLOPs)", unit
    return f"text ({name} tokens)" if name else "text (tokens)", unit


def show_costs(axes: Axes, largest: float) -> None:
    """Let the lower axis go from 0 to the largest number, and show numbers such as 1,000."""
    axes.set_xlim(0, 1.01 * largest or 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def show_curves(
    axes: Axes, curves: Sequence[Sequence[tuple[float, float]]], spikes: Iterable[tuple[float, float]] = ()
) -> tuple[float, float]:
    """Choose the left axis so that curves through these points can be read, and return its limits.

    Losses fall steeply in the first steps, and may jump at growths (`spikes`). Such points may lie above the axes, so
    that the rest is not pressed together.
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
    """The finite ones of these points, shape (points, 2)."""
    found = np.array(list(points), dtype=float).reshape(-1, 2)
    return found[np.isfinite(found).all(axis=1)]
