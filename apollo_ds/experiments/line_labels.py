"""Place names in a figure: at the ends of lines, beside points, and above growths. No name covers another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import hypot
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from data_prep.figure_style import GREY, INK, SMALL, broken, darker, legend_below

_LETTERS = 32
"""The most characters of a line of a name at the right."""
_MOST_LINES = 30
"""The most lines of all names at the right of one pair of axes. With more, a legend is easier to read."""
_APART = 2.0
"""Two names are at least this many pixels apart."""
_RIGHT = 1.03
"""The place where names at the right begin, in widths of the axes."""
_ASIDE = (8, 24, 48, 80)
"""A name may begin this many points to the right or left of its point."""
_DISTANCES = range(-4, 120, 8)
"""The foot of a name may be so many points above its point, or its top so many below. At -4 it is beside it."""
_SIDES = ((1, 1), (-1, -1), (1, -1), (-1, 1))
"""The order of equally near places. Above and to the right comes first, where a falling curve leaves most room."""
_Place = tuple[tuple[int, int], int, int]
_PLACES: list[_Place] = sorted(product(_SIDES, _ASIDE, _DISTANCES), key=lambda place: hypot(*place[1:]))
_FAR = 14
"""A name that is at least this many points away gets a line to its point."""
_PALE_GROUND = {"boxstyle": "square,pad=0", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
_DENSE = 4.0
"""The distance in pixels between two places of a line. A name should cover none of them."""
_MOST_PLACES = 500
_BEHIND = 0
"""The drawing order of the thin lines of growths: behind everything else."""
_ROW = 10
"""The distance between two rows of names above the axes, in points."""

Pixels = npt.NDArray[np.float64]
"""Places on the canvas in pixels, shape (places, 2)."""


@dataclass(frozen=True)
class Label:
    """A name, and the point that it belongs to, in the axes' own units."""

    x: float
    y: float
    text: str
    colour: str = INK


def fit_beside(labels: Sequence[Label]) -> bool:
    """Whether these names fit at the right of one pair of axes."""
    return sum(broken(label.text, _LETTERS).count("\n") + 1 for label in labels) <= _MOST_LINES


def name_lines(figure: Figure, axes: Axes, labels: Sequence[Label]) -> None:
    """Name lines at their ends. If the names do not fit there, draw a legend."""
    if fit_beside(labels):
        label_ends(figure, {axes: labels})
    else:
        handles, names = axes.get_legend_handles_labels()
        legend_below(figure, handles, names, columns=2)


def label_ends(figure: Figure, labels: Mapping[Axes, Sequence[Label]]) -> None:
    """Write names at the right of axes, in the order of their lines' ends. Each name is joined to its line.

    The limits of the axes must be set before. If the names need it, the figure becomes higher.
    """
    written = {axes: [_at_the_right(axes, label) for label in of_axes] for axes, of_axes in labels.items()}
    figure.draw_without_rendering()
    for axes, names in written.items():
        needed = sum(_height(name) for name in names)
        while needed > axes.bbox.height:
            figure.set_figheight(figure.get_figheight() + (needed - axes.bbox.height) / figure.dpi + 0.05)
            figure.draw_without_rendering()
    for axes, names in written.items():
        _spread(axes, names)


def _at_the_right(axes: Axes, label: Label) -> Annotation:
    (left, right), (low, high) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
    end = min(max(label.x, left), right), min(max(label.y, low), high)
    line = {"arrowstyle": "-", "color": label.colour, "linewidth": 0.6, "alpha": 0.6, "relpos": (0, 0.5)}
    return axes.annotate(
        broken(label.text, _LETTERS),
        end,
        (_RIGHT, 0.5),
        textcoords="axes fraction",
        fontsize=SMALL,
        color=darker(label.colour),
        verticalalignment="center",
        arrowprops={**line, "shrinkA": 1, "shrinkB": 2},
        annotation_clip=False,
    )


def _height(name: Text) -> float:
    return _box(name).height + _APART


def _box(name: Text) -> Bbox:
    """The box around a name, without the line to its point."""
    name.get_window_extent()  # moves the annotation to its place
    return Text.get_window_extent(name)


def _spread(axes: Axes, names: Sequence[Annotation]) -> None:
    """Move each name as near to its line's end as the others allow: by least squares, in the order of the ends."""
    if not names:
        return
    ends = {name: axes.transData.transform(name.xy)[1] for name in names}
    rising = sorted(names, key=lambda name: ends[name])
    heights = np.array([_height(name) for name in rising])
    offsets = np.cumsum(heights) - heights / 2
    means: list[tuple[float, int]] = []
    for name, offset in zip(rising, offsets, strict=True):
        means.append((ends[name] - offset, 1))
        while len(means) > 1 and means[-2][0] > means[-1][0]:
            (below, count), (above, more) = means[-2:]
            means[-2:] = [((below * count + above * more) / (count + more), count + more)]
    starts = np.repeat([mean for mean, _ in means], [count for _, count in means])
    middles = np.clip(starts, axes.bbox.y0, axes.bbox.y1 - heights.sum()) + offsets
    for name, middle in zip(rising, middles, strict=True):
        name.set_position((_RIGHT, (middle - axes.bbox.y0) / axes.bbox.height))


def label_points(figure: Figure, axes: Axes, labels: Sequence[Label]) -> None:
    """Write names near their points within the axes. A name covers no other name and, if there is room, no line."""
    figure.draw_without_rendering()
    lines = _places_of_lines(axes)
    taken = [_box(text) for text in axes.texts]
    for label in labels:
        free = [(place, box) for place, box in _boxes(figure, axes, label) if _is_free(box, axes, taken)]
        clear = (place for place, box in free if not _covers(box.padded(_APART), lines))
        taken.append(_box(_beside(axes, label, next(clear, free[0][0] if free else _PLACES[0]))))


def _boxes(figure: Figure, axes: Axes, label: Label) -> Iterator[tuple[_Place, Bbox]]:
    """Yield the box of a name at each possible place, the nearest place first."""
    x, y = axes.transData.transform((label.x, label.y))
    name = _beside(axes, label, _PLACES[0])
    width, height = _box(name).size
    name.remove()
    for place in _PLACES:
        (right, above), aside, far = place
        left = x + right * aside * figure.dpi / 72 - width * (right < 0)
        foot = y + above * far * figure.dpi / 72 - height * (above < 0)
        yield place, Bbox.from_bounds(left, foot, width, height)


def _beside(axes: Axes, label: Label, place: _Place) -> Annotation:
    (right, above), aside, far = place
    line = {"arrowstyle": "-", "color": label.colour, "linewidth": 0.6, "alpha": 0.6, "shrinkA": 0, "shrinkB": 3}
    line["relpos"] = (
        right < 0,
        0.5 if far < 0 else above < 0,
    )  # the line begins at the part of the name that is nearest to the point
    return axes.annotate(
        label.text,
        (label.x, label.y),
        (right * aside, above * far),
        textcoords="offset points",
        fontsize=SMALL,
        color=darker(label.colour),
        horizontalalignment="left" if right > 0 else "right",
        verticalalignment="bottom" if above > 0 else "top",
        arrowprops=line if max(far, aside) > _FAR else None,
        bbox=_PALE_GROUND,
    )


def _is_free(box: Bbox, axes: Axes, taken: Sequence[Bbox]) -> bool:
    within = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1
    return within and not any(box.padded(_APART).overlaps(other) for other in taken)


def _covers(box: Bbox, places: Pixels) -> bool:
    inside = (places > (box.x0, box.y0)) & (places < (box.x1, box.y1))
    return bool(inside.all(axis=1).any())


def _places_of_lines(axes: Axes) -> Pixels:
    """Dense places on all lines in the axes. Single points, and lines behind everything, may be covered."""
    found = [np.empty((0, 2))]
    for line in axes.lines:
        if line.get_linestyle() == "None" or line.get_zorder() == _BEHIND:
            continue
        corners = line.get_transform().transform(line.get_xydata())
        corners = corners[np.isfinite(corners).all(axis=1)]
        for start, end in pairwise(corners):
            found.append(np.linspace(start, end, max(2, min(_MOST_PLACES, int(np.hypot(*(end - start)) / _DENSE)))))
    return np.concatenate(found)


def mark_growths(figure: Figure, axes: Axes, growths: Sequence[tuple[float, str]]) -> None:
    """Draw a thin line at each growth, with its name above the axes. The names are in as many rows as they need."""
    names = []
    for x, text in growths:
        axes.axvline(x, color=GREY, linewidth=0.7, linestyle=(0, (4, 3)), zorder=_BEHIND)
        look: dict[str, Any] = {"fontsize": SMALL, "color": INK, "textcoords": "offset points"}
        look |= {"horizontalalignment": "center", "verticalalignment": "bottom"}
        names.append(axes.annotate(text, (x, 1.0), (0, 2), axes.get_xaxis_transform(), **look))
    figure.draw_without_rendering()
    ends: list[float] = []
    for name in names:
        box = _box(name)
        row = next((number for number, end in enumerate(ends) if end < box.x0), len(ends))
        ends[row : row + 1] = [box.x1 + _APART]
        name.set_position((0, 2 + _ROW * row))
