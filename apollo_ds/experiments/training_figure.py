"""Draw a run's training loss: a point for each step, in the colour of its depth, and the running mean."""

from collections.abc import Sequence
from itertools import groupby
from math import ceil, floor
from operator import itemgetter
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
"""Up to this many depths have a colour and a name each. More depths are shades of one scale."""
_SMOOTHED = 0.02
"""The running mean is over this fraction of the steps, but over at least `_LEAST_WIDTH` steps."""
_LEAST_WIDTH = 5
_PALE = 0.45
_PALEST = 0.85
"""The end of the scale of shades that is used. Beyond it, shades are too near to white."""


def draw_training(run: RunHistory, name: str) -> Figure:
    """Draw the training loss of each step. Deeper passes through shared layers are harder, so depths are told apart."""
    figure, axes = new_figure()
    steps = [event for event in run.steps if event["loss"] is not None]
    depths = sorted({event["depth"] for event in steps})
    axes.set_xlim(0, max(event["step"] for event in run.steps) + 0.5)
    show_curves(axes, [[(event["step"], event["loss"]) for event in steps]])
    axes.set(xlabel="step", ylabel="training loss (nats per token)")
    count_steps(axes)
    mean = _draw_mean(axes, steps)
    names = []
    if len(depths) > _FEW:
        _draw_shades(figure, axes, steps)
    for depth, colour in zip(depths, COLOURS[1:], strict=False) if len(depths) <= _FEW else ():
        at_depth = [event for event in steps if event["depth"] == depth]
        look: dict[str, Any] = {"color": colour, "markersize": 3, "alpha": _PALE, "markeredgewidth": 0}
        axes.plot([e["step"] for e in at_depth], [e["loss"] for e in at_depth], "o", rasterized=True, **look)
        last = at_depth[-1]["step"]
        names.append(Label(last, mean[last], _layers(depth), colour))
    mark_growths(figure, axes, [(event["step"], f"{event['from']} \u2192 {event['to']}") for event in run.growths])
    set_title(figure, name, ["points: steps, in the colour of the layers that they ran; line: running mean"])
    label_points(figure, axes, names)
    return figure


def _draw_mean(axes: Axes, steps: Sequence[Event]) -> dict[int, float]:
    """Draw a line for each stage, because a growth may change the loss at once. Return the mean at each step."""
    found: dict[int, float] = {}
    width = max(_LEAST_WIDTH, round(_SMOOTHED * len(steps)))
    for _, of_stage in groupby(steps, key=itemgetter("stage")):
        losses = {event["step"]: event["loss"] for event in of_stage}
        mean = running_mean(list(losses.values()), width)
        axes.plot(list(losses), mean, color=INK, linewidth=1.3, zorder=3)
        found |= zip(losses, mean.tolist(), strict=True)
    return found


def _draw_shades(figure: Figure, axes: Axes, steps: Sequence[Event]) -> None:
    """Draw deeper steps in darker shades."""
    depths = [event["depth"] for event in steps]
    edges = np.arange(floor(min(depths)), ceil(max(depths)) + 2) - 0.5
    shades = ListedColormap(colormaps["viridis"](np.linspace(_PALEST, 0, len(edges) - 1)))
    norm = BoundaryNorm(edges, shades.N)
    look: dict[str, Any] = {"c": depths, "cmap": shades, "norm": norm, "s": 5, "linewidths": 0, "rasterized": True}
    axes.scatter([event["step"] for event in steps], [event["loss"] for event in steps], **look)
    bar = figure.colorbar(ScalarMappable(norm, shades), ax=axes, pad=0.01, ticks=MaxNLocator(integer=True))
    bar.set_label("layers run", fontsize=SMALL, color=INK)
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=SMALL, labelcolor=INK, length=0)
    bar.outline.set_visible(False)


def _layers(depth: float) -> str:
    return f"{depth:g} layer" + ("" if depth == 1 else "s")
