"""Tables of coloured cells: what several pictures are made of."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Rectangle

from data_prep.figure_style import COLOURS, GREY, INK, LARGE, SMALL

EMPTY = "#ffffff"
_PALE = 0.55
_GAP = 0.1


@dataclass(frozen=True)
class Cell:
    """A coloured box with text."""

    text: str
    colour: str = EMPTY
    is_new: bool = False
    """Drawn with a dashed border."""


def colour_of(number: int) -> str:
    """A pale colour for layer, unit or rank `number`; black letters are read on it."""
    red, green, blue = to_rgb(COLOURS[1 + number % (len(COLOURS) - 1)])
    return to_hex(tuple(part + (1 - part) * _PALE for part in (red, green, blue)))


def draw_cells(
    axes: Axes, rows: Sequence[Sequence[Cell]], names: Sequence[str] = (), size: float = SMALL, left: float = 0
) -> None:
    """Rows of cells from top to bottom, each cell one unit wide and high, with the names of rows at their left."""
    for number, row in enumerate(rows):
        for column, cell in enumerate(row):
            place = (left + column + _GAP / 2, -number - 1 + _GAP / 2)
            edge = ("--", 1.1, INK) if cell.is_new else ("-", 0.6, GREY)
            look = dict(zip(("linestyle", "linewidth", "edgecolor"), edge, strict=True))
            axes.add_patch(Rectangle(place, 1 - _GAP, 1 - _GAP, facecolor=cell.colour, **look))
            axes.text(left + column + 0.5, -number - 0.5, cell.text, fontsize=size, color=INK, ha="center", va="center")
    for number, name in enumerate(names):
        axes.text(left - 0.15, -number - 0.5, name, fontsize=SMALL, color=INK, ha="right", va="center")


def frame(axes: Axes, title: str, left: float, right: float, bottom: float, top: float = 0.1) -> None:
    """Bare axes with a title at the left and these limits."""
    axes.set_title(title, loc="left", fontsize=LARGE, color=INK)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.axis("off")
