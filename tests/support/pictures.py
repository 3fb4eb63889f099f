"""Where the letters of a figure stand."""

from itertools import combinations

from matplotlib.axis import Tick
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def assert_readable(figure: Figure) -> None:
    """All letters of a figure stand within it, and no name covers another, nor a title."""
    figure.draw_without_rendering()
    at_ticks = {id(text) for tick in figure.findobj(Tick) for text in tick.get_children()}
    names = [text for text in figure.findobj(Text) if text.get_text() and id(text) not in at_ticks]
    boxes = [(text.get_text(), _box(text)) for text in names]
    drawn = [(axes.get_title() or "axes", axes.get_tightbbox()) for axes in figure.axes if axes.axison]
    for name, box in (*boxes, *drawn):
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.width + 1 and box.y1 <= figure.bbox.height + 1
        assert inside, f"cut: {name}"
    for (name, box), (other, of_other) in combinations(boxes, 2):
        assert not box.padded(-1).overlaps(of_other.padded(-1)), f"{name!r} and {other!r} cover each other"


def _box(text: Text) -> Bbox:
    text.get_window_extent()  # puts an annotation where it belongs
    return Text.get_window_extent(text)
