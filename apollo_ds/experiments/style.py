"""How figures look: one style, lines that can be told apart in black and white, and axes with units."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data_prep.files import replacing

COLOURS = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#7f6000", "#56b4e9")
DASHES = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#777777"

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
    axes.tick_params(labelsize=8)
    return axes


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
