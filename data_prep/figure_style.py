"""The look of all figures: colours, type, axes and legends. It also writes figures to files."""

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
"""People who see no red or no green can tell these apart. In black and white, dashes and markers tell lines apart."""
DASHES = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#777777"
INK = "#333333"
"""The colour of letters."""
SMALL = 8.0
"""The font size on axes, in labels and in legends, in points."""
LARGE = 9.5
"""The font size of titles, in points."""
SMALL_ROW = 0.16
"""The height of a line of small letters, in inches."""
WIDTH = 7.0
"""The width of a figure that fills a page, in inches."""
_DARKER = 0.7
_FILLED = 0.9
"""The fraction of a figure's width that text may fill. It is below 1 because letters are whole pixels wide, so that
the width of a line is not known exactly."""
_DOTS_PER_INCH = 200
_PALETTE = 256


def new_figure(width: float = WIDTH, height: float = 3.8) -> tuple[Figure, Axes]:
    """A figure with one pair of axes; width and height are in inches."""
    figure = empty_figure(width, height)
    return figure, style_axes(figure.subplots())


def empty_figure(width: float, height: float) -> Figure:
    """A figure without axes; width and height are in inches. Its canvas can measure the size of text."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes) -> Axes:
    """Give axes this project's style, and return them."""
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
    """Put a title above all axes, at the left, and notes at the foot of the figure.

    The figure grows in height for each line of them beyond the first.
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
    """Show whole numbers on the lower axis, such as 1,000."""
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace("-", "\u2212")))


def signed(number: float, digits: int = 3) -> str:
    """A difference as text, with its sign. The minus sign is the one that the numbers on axes have."""
    return f"{number:+.{digits}f}".replace("-", "\u2212")


def darker(colour: str) -> str:
    """A darker shade of a line's colour, for letters: the colour itself is too pale to be read."""
    red, green, blue = to_rgb(colour)
    return to_hex((_DARKER * red, _DARKER * green, _DARKER * blue))


def line_style(number: int) -> dict[str, Any]:
    """The colour, dashes and marker of a figure's n-th line. No two lines have all three in common."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
        "linewidth": 1.5,
        "markersize": 4,
    }


def legend_below(figure: Figure, handles: Sequence[Any], labels: Sequence[str], columns: int) -> None:
    """Put a legend below the axes.

    If it is wider than the figure, it gets fewer columns. If one column is too wide, its names are broken into lines.
    The notes at the foot of the figure become the legend's title, so that neither covers the other.
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
    """A name, broken into lines that fit the figure's width at a font size of `size` points."""
    text = figure.text(0, 0, name, fontsize=size)
    width = text.get_window_extent().width / figure.bbox.width
    text.remove()
    return name if width <= _FILLED else broken(name, max(1, int(len(name) * _FILLED**2 / width)))


def broken(name: str, letters: int) -> str:
    """A name in lines of at most `letters` letters. It is broken behind spaces and commas if possible."""
    if len(name) <= letters:
        return name
    return textwrap.fill(re.sub(r",(?=\S)", ", ", name), letters, break_on_hyphens=False)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in one step, as a picture for pages, and beside it as a .pdf drawing for papers."""
    save_picture(figure, path)
    with replacing(path.with_suffix(".pdf")) as unfinished:
        figure.savefig(unfinished, format="pdf")


def save_picture(figure: Figure, path: Path, title: str | None = None, description: str | None = None) -> None:
    """Write a figure as .png in one step. `title` and `description` are stored in the file, for programs to read.

    The picture has 256 colours, which are close to those that were drawn. That takes a third of the bytes.
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
