"""How all figures look: colours, type, axes and legends, and how they are written to files."""

import re
import textwrap
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.legend import Legend
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from data_prep.files import replacing

COLOURS = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#7f6000", "#56b4e9", "#882255")
"""Can be told apart by people who see no red or no green. Dashes and markers tell lines apart in black and white."""
DASHES = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#777777"
INK = "#333333"
"""Of letters."""
SMALL = 8.0
"""Points of a letter on axes, in labels and in legends."""
LARGE = 9.5
"""The same in titles."""
SMALL_ROW = 0.16
"""Inches of a line of small letters."""
WIDTH = 7.0
"""Inches of a figure that fills a page's width."""
_DARKER = 0.7
_FILLED = 0.9
"""Of a figure's width, for text that has to be fitted: letters are whole pixels wide, so it cannot be met exactly."""
_DOTS_PER_INCH = 200
_PALETTE = 256


def new_figure(width: float = WIDTH, height: float = 3.8) -> tuple[Figure, Axes]:
    """A figure of so many inches with one pair of axes."""
    figure = empty_figure(width, height)
    return figure, style_axes(figure.subplots())


def empty_figure(width: float, height: float) -> Figure:
    """A figure without axes, on whose canvas the size of text can be measured."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes) -> Axes:
    """Axes in this project's style."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SMALL, color=GREY, labelcolor=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(fontsize=SMALL, color=INK)
        axis.offsetText.set(fontsize=SMALL, color=INK)
    axes.title.set(fontsize=SMALL, color=INK)
    return axes


def set_title(figure: Figure | SubFigure, title: str, notes: Sequence[str] = (), size: float = LARGE) -> None:
    """A title above all axes, at the left, and at the foot of the figure what a reader should know.

    A figure becomes higher by their lines but for the first.
    """
    at_the_left: dict[str, Any] = {"x": 0.01, "horizontalalignment": "left"}
    told, foot = wrapped(figure, title, size), wrapped(figure, "; ".join(notes))
    figure.suptitle(told, fontsize=size, color=INK, **at_the_left)
    if notes:
        figure.supxlabel(foot, fontsize=SMALL, color=GREY, **at_the_left)
    if isinstance(figure, Figure):
        figure.set_figheight(figure.get_figheight() + SMALL_ROW * size / SMALL * told.count("\n"))
        figure.set_figheight(figure.get_figheight() + SMALL_ROW * foot.count("\n"))


def count_steps(axes: Axes) -> None:
    """Whole numbers on the lower axis, with separators from a thousand on."""
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace("-", "\u2212")))


def signed(number: float, digits: int = 3) -> str:
    """A difference, with the sign that numbers on axes have."""
    return f"{number:+.{digits}f}".replace("-", "\u2212")


def darker(colour: str) -> str:
    """A colour for letters: those of lines are too pale to be read."""
    red, green, blue = to_rgb(colour)
    return to_hex((_DARKER * red, _DARKER * green, _DARKER * blue))


def line_style(number: int) -> dict[str, Any]:
    """How a figure draws its line of this number: colour, dashes and marker together are its own."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
        "linewidth": 1.5,
        "markersize": 4,
    }


def legend_below(figure: Figure, handles: Sequence[Any], labels: Sequence[str], columns: int) -> None:
    """A legend below the axes: where it is wider than the figure in fewer columns, and at last in more lines a name.

    What stands at the foot of the figure becomes the legend's title, so that neither covers the other.
    """
    notes = figure.get_supxlabel()
    figure.supxlabel("")

    def drawn(columns: int, labels: Sequence[str]) -> tuple[Legend, float]:
        look: dict[str, Any] = {"loc": "outside lower center", "frameon": False, "labelcolor": INK}
        look |= {"title": notes, "title_fontsize": SMALL, "alignment": "left"}
        legend = figure.legend(handles, labels, ncols=columns, fontsize=SMALL, **look)
        legend.get_title().set_color(GREY)
        return legend, legend.get_window_extent().width / figure.bbox.width

    legend, width = drawn(columns, labels)
    while width > 1 and columns > 1:
        legend.remove()
        columns -= 1
        legend, width = drawn(columns, labels)
    if width > 1:
        legend.remove()
        labels = [wrapped(figure, label) for label in labels]
        drawn(columns, labels)
    lines = sum(label.count("\n") + 1 for label in labels)
    figure.set_figheight(figure.get_figheight() + SMALL_ROW * -(-lines // columns))


def wrapped(figure: Figure | SubFigure, name: str, size: float = SMALL) -> str:
    """A name in letters of so many points, in as many lines as the figure's width takes."""
    text = figure.text(0, 0, name, fontsize=size)
    width = text.get_window_extent().width / figure.bbox.width
    text.remove()
    return name if width <= _FILLED else broken(name, max(1, int(len(name) * _FILLED**2 / width)))


def broken(name: str, letters: int) -> str:
    """A name in lines of at most so many letters, broken behind spaces and commas where it can be."""
    if len(name) <= letters:
        return name
    return textwrap.fill(re.sub(r",(?=\S)", ", ", name), letters, break_on_hyphens=False)


def save_figure(figure: Figure, path: Path) -> None:
    """Write it as a picture for pages, and as a drawing for papers with the suffix .pdf, each in one step."""
    save_picture(figure, path)
    with replacing(path.with_suffix(".pdf")) as unfinished:
        figure.savefig(unfinished, format="pdf")


def save_picture(figure: Figure, path: Path, title: str | None = None, description: str | None = None) -> None:
    """Write it as .png in one step, perhaps with a title and a description that programs read.

    It has 256 colours, none far from what was drawn, and so a third of the bytes.
    """
    drawn = BytesIO()
    figure.savefig(drawn, dpi=_DOTS_PER_INCH, format="png")
    picture = Image.open(drawn).convert("RGB").quantize(_PALETTE, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    about = PngInfo()
    for keyword, text in (("Title", title), ("Description", description)):
        if text is not None:
            about.add_text(keyword, text, zip=keyword == "Description")
    with replacing(path) as unfinished:
        picture.save(unfinished, format="PNG", pnginfo=about)
