"""The figure of a run's training loss: a point a step in the colour of its depth, and running means."""

from collections.abc import Sequence
from math import ceil, floor
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from apollo_ds.experiments.axes import show_curves
from apollo_ds.experiments.history import Event, RunHistory
from apollo_ds.experiments.line_labels import Label, label_points, mark_growths
from apollo_ds.experiments.running_mean import running_mean
from data_prep.figure_style import COLOURS, INK, SMALL, count_steps, new_figure, set_title

_FEW = 5
"""Depths that have a colour, a running mean and a name each; more are shades of one scale."""
_SMOOTHED = 0.02
"""Over which part of the steps the running mean goes."""
_PALE = 0.35
_PALEST = 0.85
"""Of the scale of shades: beyond, it is too near to white."""


def draw_training(run: RunHistory, name: str) -> Figure:
    """Training loss of each step: deeper passes of shared layers are harder."""
    figure, axes = new_figure()
    steps = [event for event in run.steps if event["loss"] is not None]
    depths = sorted({event["depth"] for event in steps})
    axes.set_xlim(0, max(event["step"] for event in run.steps) + 0.5)
    show_curves(axes, ((event["step"], event["loss"]) for event in steps))
    axes.set(xlabel="step", ylabel="training loss (nats per token)")
    count_steps(axes)
    width = max(5, round(_SMOOTHED * len(steps)))
    names = []
    if len(depths) > _FEW:
        _draw_shades(figure, axes, steps)
        _draw_mean(axes, steps, width, INK)
    for depth, colour in zip(depths, COLOURS[1:], strict=False) if len(depths) <= _FEW else ():
        at_depth = [event for event in steps if event["depth"] == depth]
        look: dict[str, Any] = {"color": colour, "markersize": 3, "alpha": _PALE, "markeredgewidth": 0}
        axes.plot(*_points(at_depth), "o", rasterized=True, **look)
        names.append(Label(*_draw_mean(axes, at_depth, width, colour), _layers(depth), colour))
    mark_growths(axes, [(event["step"], f"{event['from']} \u2192 {event['to']}") for event in run.growths])
    set_title(figure, name, ["points: steps, in the colour of the layers that they ran; lines: running means"])
    label_points(axes, names)
    return figure


def _points(steps: Sequence[Event]) -> tuple[list[int], list[float]]:
    return [event["step"] for event in steps], [event["loss"] for event in steps]


def _draw_mean(axes: Axes, steps: Sequence[Event], width: int, colour: str) -> tuple[float, float]:
    """Returns its last point."""
    numbers, losses = _points(steps)
    mean = running_mean(losses, width)
    axes.plot(numbers, mean, color=colour, linewidth=1.5)
    return numbers[-1], float(mean[-1])


def _draw_shades(figure: Figure, axes: Axes, steps: Sequence[Event]) -> None:
    """The deeper, the darker."""
    depths = [event["depth"] for event in steps]
    edges = np.arange(floor(min(depths)), ceil(max(depths)) + 2) - 0.5
    shades = ListedColormap(colormaps["viridis"](np.linspace(_PALEST, 0, len(edges) - 1)))
    norm = BoundaryNorm(edges, shades.N)
    axes.scatter(*_points(steps), c=depths, cmap=shades, norm=norm, s=5, linewidths=0, rasterized=True)
    bar = figure.colorbar(ScalarMappable(norm, shades), ax=axes, pad=0.01, ticks=MaxNLocator(integer=True))
    bar.set_label("layers run", fontsize=SMALL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, labelcolor=INK, color=INK)
    bar.outline.set_visible(False)


def _layers(depth: float) -> str:
    return f"{depth:g} layer" + ("" if depth == 1 else "s")
