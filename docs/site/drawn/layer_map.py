"""docs/concepts/layer-map.png: three layers at each depth of a step, and what four layers grow into by each map."""

from typing import Any

from matplotlib.figure import Figure

from apollo_ds.models.layer_map import LAYER_MAPS, added
from data_prep.figure_style import WIDTH, empty_figure
from drawn.cells import Cell, colour_of, draw_cells, frame

_SHARED, _DEEPEST = 3, 9
_OLD, _NEW = 4, 6


def facts() -> dict[str, Any]:
    """The maps, from `apollo_ds.models.layer_map`."""
    interpolate = LAYER_MAPS["interpolate"]
    return {
        "runs": {str(depth): list(interpolate(_SHARED, depth)) for depth in range(_SHARED, _DEEPEST + 1)},
        "grows": {name: list(maker(_OLD, _NEW)) for name, maker in LAYER_MAPS.items()},
    }


def draw(drawn: dict[str, Any]) -> Figure:
    """Which layer runs at each position, and which layer each new one copies."""
    figure = empty_figure(WIDTH, 2.7)
    left, right = figure.subplots(1, 2, width_ratios=(11.5, 10))
    runs = [[Cell(str(layer), colour_of(layer)) for layer in row] for row in drawn["runs"].values()]
    draw_cells(left, runs, [f"depth {depth}" for depth in drawn["runs"]])
    grows = [
        [Cell(str(layer), colour_of(layer), position in added(tuple(row))) for position, layer in enumerate(row)]
        for row in drawn["grows"].values()
    ]
    draw_cells(right, grows, list(drawn["grows"]))
    frame(left, f"{_SHARED} layers run at each depth (interpolate)", -2.6, _DEEPEST, -len(runs) - 0.1)
    frame(right, f"{_OLD} layers grow into {_NEW}; dashed is new", -3.9, _NEW, -len(runs) - 0.1)
    return figure
