"""How figures look: one style, lines that can be told apart in black and white, and axes with units."""

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from data_prep.files import replacing

COLOURS = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#7f6000", "#56b4e9")
DASHES = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#777777"
SMALL = 8.0
"""Points of a letter in legends and titles."""
SMALL_ROW = 0.16
"""Inches of a line of such letters."""
_FILLED = 0.9
"""Of a figure's width, for text that has to be fitted: letters are whole pixels wide, so it cannot be met exactly."""

_DURATIONS = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
_PREFIXES = (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))


def new_figure(width: float = 6.0, height: float = 3.8) -> tuple[Figure, Axes]:
    """A figure of so many inches with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, style_axes(figure.subplots())


def style_axes(axes: Axes) -> Axes:
    """Axes in this project's style."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.tick_params(labelsize=SMALL)
    return axes


def legend_below(figure: Figure, handles: Sequence[Any], labels: Sequence[str], columns: int) -> None:
    """A legend below the axes: where it is wider than the figure in fewer columns, and at last in more lines a name."""

    def drawn(columns: int, labels: Sequence[str]) -> tuple[Legend, float]:
        look: dict[str, Any] = {"loc": "outside lower center", "frameon": False}
        legend = figure.legend(handles, labels, ncols=columns, fontsize=SMALL, **look)
        return legend, legend.get_window_extent().width / figure.bbox.width

    legend, width = drawn(columns, labels)
    while width > 1 and columns > 1:
        legend.remove()
        columns //= 2
        legend, width = drawn(columns, labels)
    if width > 1:
        legend.remove()
        labels = [wrapped(figure, label) for label in labels]
        drawn(columns, labels)
    lines = sum(label.count("\n") + 1 for label in labels)
    figure.set_figheight(figure.get_figheight() + SMALL_ROW * -(-lines // columns))


def wrapped(figure: Figure, name: str) -> str:
    """A name in small letters, in as many lines as the figure's width takes; broken behind commas where it can be."""
    text = figure.text(0, 0, name, fontsize=SMALL)
    width = text.get_window_extent().width / figure.bbox.width
    text.remove()
    spaced = re.sub(r",(?=\S)", ", ", name) if width > _FILLED else name
    return textwrap.fill(spaced, max(1, int(len(name) * _FILLED**2 / width)), break_on_hyphens=False)


def line_style(number: int) -> dict[str, Any]:
    """How a figure draws its line of this number: colour, dashes and marker together are its own."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
        "linewidth": 1.5,
        "markersize": 4,
    }


def save_figure(figure: Figure, path: Path) -> None:
    """Write it as a picture for pages, and as a drawing for papers with the suffix .pdf, each in one step."""
    for kind in ("png", "pdf"):
        with replacing(path.with_suffix(f".{kind}")) as unfinished:
            figure.savefig(unfinished, dpi=200, format=kind)


def axis_of(currency: str, largest: float) -> tuple[str, float]:
    """The label of an axis of `flops`, `tokens` or `seconds`, and the unit that its numbers are to be divided by."""
    units = _DURATIONS if currency == "seconds" else _PREFIXES
    name, unit = next(((name, unit) for name, unit in units if largest >= 2 * unit), units[-1])
    if currency == "seconds":
        return f"time ({name})", unit
    if currency == "flops":
        return f"training cost ({name}FLOPs)", unit
    return f"text ({name} tokens)" if name else "text (tokens)", unit
