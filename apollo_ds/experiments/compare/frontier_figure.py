"""Draw a frontier: fixed models as thin lines, the frontier as a thick one, and recipes as points.

The upper panel has the loss over the cost. The lower one has the distance from the frontier, where a hundredth of a nat
can be seen.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from apollo_ds.experiments.axes import axis_of
from apollo_ds.experiments.compare.distances import RecipeDistance, cost_with_source, distances, has_finite_loss
from apollo_ds.experiments.compare.frontier import FixedModel, Frontier
from apollo_ds.experiments.compare.groups import Group
from apollo_ds.experiments.compare.labels import but_for_the_usual, factored
from apollo_ds.experiments.compare.measures import Spread
from apollo_ds.experiments.line_labels import Label, fit_beside, label_ends
from apollo_ds.planning.in_words import loss_in_words
from data_prep.figure_style import (
    COLOURS,
    DASHES,
    GREY,
    MARKERS,
    WIDTH,
    empty_figure,
    legend_below,
    set_title,
    signed,
    style_axes,
)

_PALE = "#bbbbbb"
_COSTS = 400
"""The number of costs at which a line is drawn."""
_TICKS = 99
"""More ticks than an axis has, so that matplotlib leaves none out."""
_WIDER = 1.6
"""The axis goes from the lowest cost of a recipe, divided by this, to the highest one times this."""
_ROOM = 0.12
"""The space beyond the outermost losses, as a fraction of their range."""
_LEAST_DISTANCE = 0.01
"""The lower panel shows at least this many nats per token to either side."""


def draw_frontier(frontier: Frontier, groups: Sequence[Group]) -> Figure:
    """Draw the final held-out loss over FLOPs, and the distance below. A recipe's finished runs are one point."""
    figure = empty_figure(WIDTH, 6.4)
    panels = figure.subplots(2, 1, sharex=True)
    losses, below = (style_axes(axes) for axes in panels)
    label, unit = axis_of("flops", frontier.spans()[-1][1])
    found = [one for one in distances(groups, frontier) if _mean_flops(one.group) and has_finite_loss(one.group)]
    _draw_envelope((losses, below), frontier, unit)
    for number, model in enumerate(frontier.models):
        _draw_model((losses, below), model, frontier, unit, number)
    common, names = factored([one.group.name for one in found]) if found else ("", [])
    for number, (one, name) in enumerate(zip(found, names, strict=True)):
        _draw_recipe((losses, below), one, name or one.group.name, unit, number)
    losses.set(ylabel="final held-out loss (nats per token)", xscale="log")
    below.set(xlabel=label, ylabel="distance from the best fixed model")
    _zoom(losses, below, frontier, found, unit)
    usual, names_of_models = but_for_the_usual([model.name for model in frontier.models])
    notes = ["points: recipes; grey lines: fixed models; thick: the lowest of these"]
    notes += [f"fixed models have {usual} unless they say otherwise"] if usual else []
    set_title(figure, common if len(found) > 1 else "", notes)
    ends = {losses: _ends_of_models(losses, frontier, names_of_models, unit), below: list[Label]()}
    for number, (one, name) in enumerate(zip(found, names, strict=True)):
        ends[below if one.loss else losses].append(_end_of_recipe(one, name or one.group.name, unit, number))
    if all(fit_beside(of_axes) for of_axes in ends.values()):
        label_ends(figure, ends)
    else:
        handles, labels = losses.get_legend_handles_labels()
        legend_below(figure, handles, labels, columns=3)
    return figure


def _ends_of_models(axes: Axes, frontier: Frontier, names: Sequence[str], unit: float) -> list[Label]:
    """Labels at the places where the line of a fixed model leaves the axes or ends. Lines out of view have none."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    ends = []
    for model, name in zip(frontier.models, names, strict=True):
        first, last = (cost / unit for cost in model.span("flops"))
        if first > right or last < left:
            continue
        costs = np.geomspace(max(first, left), min(last, right), _COSTS)
        seen = [(cost, loss) for cost in costs if (loss := model.loss_at(cost * unit, "flops")) and low <= loss <= high]
        if seen:
            ends.append(Label(*seen[-1], name, GREY))
    return ends


def _end_of_recipe(one: RecipeDistance, name: str, unit: float, number: int) -> Label:
    """The label of a recipe with its distance, or with its loss if no fixed model reaches its cost."""
    x = (_mean_flops(one.group) or 0.0) / unit
    if one.loss:
        return Label(x, one.loss.mean, f"{name}  {signed(one.loss.mean)}", _colour(number))
    loss = fmean(run.final.loss for run in one.group.finished)
    return Label(x, loss, f"{name}  {loss_in_words(loss, 3)}", _colour(number))


def _colour(number: int) -> str:
    """The colour of a recipe. Fixed models are grey and black."""
    return COLOURS[1:][number % (len(COLOURS) - 1)]


def _mean_flops(group: Group) -> float | None:
    """The mean FLOPs of a recipe's finished runs. None if there are none, or if the cost of one is not known."""
    costs = [cost.flops for run in group.finished if (cost := cost_with_source(run))]
    return fmean(costs) if costs and len(costs) == len(group.finished) else None


def _draw_envelope(panels: tuple[Axes, Axes], frontier: Frontier, unit: float) -> None:
    """Draw the lowest line, with gaps at costs that no model reaches."""
    label = "best fixed model"
    for low, high in frontier.spans():
        ends = [cost for model in frontier.models for cost, _ in model.line("flops") if low <= cost <= high]
        costs = np.unique([*np.geomspace(low, high, _COSTS)[1:-1], *ends])
        losses = [np.nan if (loss := frontier.loss_at(cost)) is None else loss for cost in costs]
        look: dict[str, Any] = {"marker": "o", "markersize": 9} if low == high else {}
        for axes, values in zip(panels, (losses, [0.0] * len(losses)), strict=True):
            axes.plot(costs / unit, values, color=_PALE, linewidth=5, label=label, zorder=1, **look)
        label = "_more of it"


def _draw_model(panels: tuple[Axes, Axes], model: FixedModel, frontier: Frontier, unit: float, number: int) -> None:
    """Draw the line of a model and its distance from the lowest one, with a marker at each length."""
    line = model.line("flops")
    look: dict[str, Any] = {"linestyle": DASHES[number % len(DASHES)], "linewidth": 0.9, "color": GREY}
    look |= {"marker": MARKERS[number % len(MARKERS)], "markersize": 3.5}
    lengths = np.array([cost for cost, _ in line])
    costs = np.unique([*np.geomspace(lengths[0], lengths[-1], _COSTS)[1:-1], *lengths])
    losses = np.array([model.loss_at(cost, "flops") for cost in costs], dtype=float)
    lowest = np.array([frontier.loss_at(cost) for cost in costs], dtype=float)
    at_length = np.isin(costs, lengths).nonzero()[0].tolist()
    for axes, values in zip(panels, (losses, losses - lowest), strict=True):
        axes.plot(costs / unit, values, markevery=at_length, label=model.name, zorder=2, **look)


def _draw_recipe(panels: tuple[Axes, Axes], one: RecipeDistance, name: str, unit: float, number: int) -> None:
    cost = _mean_flops(one.group)
    spreads = (Spread.of(run.final.loss for run in one.group.finished), one.loss)
    for axes, spread in zip(panels, spreads, strict=True):
        if cost and spread:
            axes.errorbar(
                cost / unit,
                spread.mean,
                yerr=spread.deviation,
                color=_colour(number),
                marker=MARKERS[number % len(MARKERS)],
                linestyle="none",
                markersize=5,
                elinewidth=1.2,
                capsize=3,
                label=name,
                zorder=3,
            )


def _zoom(losses: Axes, below: Axes, frontier: Frontier, found: Sequence[RecipeDistance], unit: float) -> None:
    """Show the part near the recipes, or all of the frontier if there are none. The axis of costs has plain numbers."""
    spent = [cost for one in found if (cost := _mean_flops(one.group))]
    spent = spent or [frontier.spans()[0][0], frontier.spans()[-1][1]]
    low, high = min(spent) / _WIDER, max(spent) * _WIDER
    shown = [loss for cost in np.geomspace(low, high, _COSTS) if (loss := frontier.loss_at(cost)) is not None]
    shown += [run.final.loss for one in found for run in one.group.finished]
    room = _ROOM * max(max(shown) - min(shown), _LEAST_DISTANCE)
    losses.set(xlim=(low / unit, high / unit), ylim=(min(shown) - room, max(shown) + room))
    furthest = max([abs(spread.mean) + (spread.deviation or 0) for one in found if (spread := one.loss)], default=0.0)
    most = (1 + _ROOM) * max(furthest, _LEAST_DISTANCE)
    below.set_ylim(-most, most)
    near = high / low <= 10
    subs = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0) if near else (1.0, 2.0, 5.0)
    below.xaxis.set_major_locator(LogLocator(subs=subs, numticks=_TICKS))
    below.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    below.xaxis.set_minor_locator(NullLocator())
    below.xaxis.set_minor_formatter(NullFormatter())
