"""The figure of a frontier: fixed models as thin lines, the lowest of them as a thick one, recipes as points."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from apollo_ds.experiments.compare.distances import cost_with_source
from apollo_ds.experiments.compare.frontier import Frontier
from apollo_ds.experiments.compare.groups import Group
from apollo_ds.experiments.compare.measures import Spread
from apollo_ds.experiments.style import COLOURS, DASHES, GREY, MARKERS, axis_of, legend_below, new_figure

_COSTS = 600
"""At which the frontier is drawn between its least and its largest cost."""
_ROOM = 0.08
"""Beyond the outermost points, as a part of what is between them."""
_HIGHEST = 1.5
"""How far above the recipes' own range fixed models are drawn, in parts of that range or `_LEAST_RANGE`."""


def draw_frontier(frontier: Frontier, groups: Sequence[Group]) -> Figure:
    """Final held-out loss over FLOPs, with the finished runs of recipes as one point a recipe."""
    figure, axes = new_figure(6.4, 4.4)
    label, unit = axis_of("flops", frontier.spans()[-1][1])
    _draw_envelope(axes, frontier, unit)
    _draw_models(axes, frontier, unit)
    _draw_recipes(axes, groups, unit)
    axes.set(xlabel=label, ylabel="final held-out loss (nats per token)", xscale="log")
    _set_ticks(axes)
    handles, labels = axes.get_legend_handles_labels()
    legend_below(figure, handles, labels, columns=2)
    return figure


def _draw_envelope(axes: Axes, frontier: Frontier, unit: float) -> None:
    """The lowest line, with gaps where no model comes to a cost."""
    label = "best fixed model"
    for low, high in frontier.spans():
        ends = [cost for model in frontier.models for cost in model.span("flops") if low <= cost <= high]
        costs = np.unique([*np.geomspace(low, high, _COSTS), *ends])
        losses = [np.nan if (loss := frontier.loss_at(cost)) is None else loss for cost in np.clip(costs, low, high)]
        axes.plot(costs / unit, losses, color="#bbbbbb", linewidth=5, solid_capstyle="round", label=label, zorder=1)
        label = "_more of it"


def _draw_models(axes: Axes, frontier: Frontier, unit: float) -> None:
    for number, model in enumerate(frontier.models):
        costs, losses = zip(*model.line("flops"), strict=True)
        axes.plot(
            np.array(costs) / unit,
            losses,
            color=GREY,
            linestyle=DASHES[number % len(DASHES)],
            marker=MARKERS[number % len(MARKERS)],
            linewidth=0.9,
            markersize=3.5,
            label=model.name,
            zorder=2,
        )


def _draw_recipes(axes: Axes, groups: Sequence[Group], unit: float) -> None:
    for number, group in enumerate(group for group in groups if group.finished):
        costs = [cost.flops for run in group.finished if (cost := cost_with_source(run))]
        if len(costs) < len(group.finished):
            continue
        spread = Spread.of(run.final.loss for run in group.finished)
        axes.errorbar(
            fmean(costs) / unit,
            spread.mean,
            yerr=spread.deviation,
            color=COLOURS[1:][number % (len(COLOURS) - 1)],
            marker=MARKERS[number % len(MARKERS)],
            linestyle="none",
            markersize=7,
            markeredgecolor="white",
            elinewidth=1.3,
            capsize=3,
            label=group.name,
            zorder=3,
        )


def _set_ticks(axes: Axes) -> None:
    """Plain numbers on the axis of costs, closer where it spans little."""
    low, high = axes.get_xlim()
    subs = (1.0, 2.0, 5.0) if high / low > 10 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
