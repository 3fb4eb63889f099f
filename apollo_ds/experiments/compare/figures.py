"""Draw the figures of a comparison. A line is the mean over seeds, and a band one standard deviation to either side.

Costs and losses are averaged at each evaluation, so a band is the spread of the losses there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apollo_ds.experiments.axes import axis_of, show_costs, show_curves
from apollo_ds.experiments.compare.groups import Group
from apollo_ds.experiments.compare.growth_figure import draw_growths, growths_of_all
from apollo_ds.experiments.compare.labels import Names
from apollo_ds.experiments.compare.measures import Spread, Target, saving
from apollo_ds.experiments.history import Event, cost_to_reach, recorded_loss
from apollo_ds.experiments.line_labels import Label, label_points, name_lines
from apollo_ds.planning.in_words import loss_in_words
from data_prep.figure_style import GREY, SMALL, line_style, new_figure, set_title, signed

_LOSS = "held-out loss (nats per token)"
_MOST_BANDS = 4
"""With more lines than this, bands would hide each other. Then each line has a bar at its end."""
_TARGET_LOSSES = 80
_MOST_MARKERS = 12
_LEAST_SAVING = -200.0
"""Savings below this percentage are not shown: at the beginning of a curve they can be very low."""


def draw(groups: Sequence[Group], baseline: Group, target: Target | None) -> dict[str, Figure]:
    """Draw the figures. They are returned by the names of their files."""
    compares = len(groups) > 1
    figures = {
        f"loss_against_{name}.png": draw_losses(groups, currency, target if compares else None)
        for name, currency in (("flops", "flops"), ("tokens", "tokens"), ("time", "seconds"))
    }
    if compares and target and target.is_learned:
        figures["saving_against_loss.png"] = _savings(groups, baseline, target)
    growing = [group for group in groups if growths_of_all(group)]
    if growing:
        figures["loss_around_growth.png"] = draw_growths(growing)
    return figures


@dataclass(frozen=True)
class _Point:
    """A mean over seeds, and their standard deviation."""

    x: float
    mean: float
    deviation: float
    step: float = 0
    marked: bool = True
    """Whether the point has a marker. A measurement at a growth has none."""


def _point(x: float, values: Sequence[float], step: float = 0, marked: bool = True) -> _Point:
    spread = Spread.of(values)
    return _Point(x, spread.mean, spread.deviation or 0.0, step, marked)


def _draw_means(axes: Axes, points: Sequence[_Point], look: dict[str, Any], label: str, among: int) -> None:
    """Draw one line, with its spread. `among` is the number of all lines."""
    marked = [number for number, point in enumerate(points) if point.marked]
    x, mean, deviation = (np.array([getattr(p, key) for p in points]) for key in ("x", "mean", "deviation"))
    axes.plot(x, mean, label=label, markevery=marked[:: max(1, -(-len(marked) // _MOST_MARKERS))], **look)
    if deviation.any() and among <= _MOST_BANDS:
        axes.fill_between(x, mean - deviation, mean + deviation, color=look["color"], alpha=0.2, linewidth=0)
    elif deviation.any():
        axes.errorbar(x[-1], mean[-1], deviation[-1], color=look["color"], elinewidth=1, capsize=2)


def _about_seeds(groups: Sequence[Group]) -> list[str]:
    if all(len(group.shown) == 1 for group in groups):
        return []
    spread = "bands" if len(groups) <= _MOST_BANDS else "bars at their ends"
    return [f"lines: means over seeds; {spread}: one standard deviation to either side"]


def draw_losses(groups: Sequence[Group], currency: str, target: Target | None) -> Figure:
    """Draw the held-out loss over the cost. A growth is an open circle."""
    figure, axes = new_figure()
    names = Names.of(groups)
    largest = max(getattr(run.final.cost, currency) for group in groups for run in group.shown)
    label, unit = axis_of(currency, largest)
    curves = [_curve(group, currency, unit) for group in groups]
    grown = [[_losses_at_growth(group, at, currency, unit) for at in range(growths_of_all(group))] for group in groups]
    show_costs(axes, largest / unit)
    spikes = ((after.x, after.mean) for pairs in grown for _, after in pairs)
    low, high = show_curves(axes, [_to_be_seen(*of_one) for of_one in zip(curves, grown, strict=True)], spikes)
    ends, at_growths = [], []
    for number, (group, curve, pairs) in enumerate(zip(groups, curves, grown, strict=True)):
        look = line_style(number)
        points = sorted(chain(curve, *pairs), key=lambda point: point.step)
        points = [point for point in points if np.isfinite(point.mean)]
        _draw_means(axes, points, look, names.labels[number] or group.name, len(groups))
        at_growths += _draw_growths(axes, group, pairs, look["color"], high)
        if curve:
            text = f"{names.labels[number]}  {_end(group, curve)}".strip()
            ends.append(Label(curve[-1].x, curve[-1].mean, text, look["color"]))
    notes = _references(axes, groups, target, (low, high))
    axes.set(xlabel=label, ylabel=_LOSS)
    if at_growths and len(groups) > 1:
        above = any(high < after.mean < np.inf for pairs in grown for _, after in pairs)
        notes.append("open circles: growths" + (", those above the axes as triangles" if above else ""))
    set_title(figure, names.title, notes + _about_seeds(groups))
    name_lines(figure, axes, ends)
    if len(groups) == 1:
        label_points(figure, axes, at_growths)
    return figure


def _to_be_seen(curve: Sequence[_Point], pairs: Sequence[tuple[_Point, _Point]]) -> list[tuple[float, float]]:
    """The points of a line that must be visible: evaluations, losses before growths, and the ends of the last bar."""
    ends = [(point.x, point.mean - point.deviation) for point in curve[-1:]]
    return [(point.x, point.mean) for point in (*curve, *(before for before, _ in pairs))] + ends


def _curve(group: Group, currency: str, unit: float) -> list[_Point]:
    """The mean cost and mean loss at each evaluation of a group at which all of them are finite."""
    points = (
        _point(
            fmean(getattr(at.cost, currency) for at in evaluations) / unit,
            [at.loss for at in evaluations],
            fmean(at.step for at in evaluations),
        )
        for evaluations in group.evaluations()
    )
    return [point for point in points if np.isfinite(point.mean)]


def _end(group: Group, curve: Sequence[_Point]) -> str:
    """The last loss that is drawn, in words, and whether later ones are not finite."""
    return loss_in_words(curve[-1].mean, 3) + ("" if isfinite(group.mean_curve()[-1].loss) else ", then not finite")


def _losses_at_growth(group: Group, number: int, currency: str, unit: float) -> tuple[_Point, _Point]:
    """The mean losses before and after a growth."""
    growths = [run.growths[number] for run in group.shown]
    costs = [run.cost_at(growth["step"]) for run, growth in zip(group.shown, growths, strict=True)]
    x = fmean(getattr(cost, currency) for cost in costs) / unit
    step = fmean(growth["step"] for growth in growths)
    before, after = (
        _point(x, [recorded_loss(growth[key]) for growth in growths], step, marked=False)
        for key in ("loss_before", "loss_after")
    )
    return before, after


def _draw_growths(
    axes: Axes, group: Group, pairs: Sequence[tuple[_Point, _Point]], colour: str, high: float
) -> list[Label]:
    """Draw an open circle at the loss after each growth, or an arrow if it is above the axes. Return the labels."""
    labels = []
    for growth, (_, after) in zip(group.shown[0].growths, pairs, strict=False):
        if not np.isfinite(after.mean):
            continue
        is_above = after.mean > high
        y, marker = (high, "^") if is_above else (after.mean, "o")
        axes.plot(after.x, y, marker, color=colour, markersize=7, markerfacecolor="white", clip_on=False, zorder=3)
        labels.append(Label(after.x, y, _layers(growth) + (f", to {loss_in_words(after.mean, 3)}" if is_above else "")))
    return labels


def _layers(growth: Event) -> str:
    return f"{growth['from']} \u2192 {growth['to']} layers"


def _references(axes: Axes, groups: Sequence[Group], target: Target | None, view: tuple[float, float]) -> list[str]:
    """Draw lines of losses to compare with. Return the notes on them for the foot of the figure."""
    look: dict[str, Any] = {"color": GREY, "linewidth": 0.9}
    if target:
        axes.axhline(target.loss, linestyle=":", **look)
    entropy = groups[0].runs[0].start.get("unigram_entropy")
    if entropy is None or len(groups) > 1:
        return ["dotted: the baseline's final loss"] if target else []
    low, high = view
    if not low <= entropy <= high:
        return [f"unigram entropy {loss_in_words(entropy, 3)}, {'above' if entropy > high else 'below'} what is shown"]
    axes.axhline(entropy, linestyle="--", **look)
    _name_at_the_right(axes, entropy, f"unigram entropy {loss_in_words(entropy, 3)}")
    return []


def _name_at_the_right(axes: Axes, y: float, text: str) -> None:
    """Write a text above a line that goes through all of the axes."""
    where = (1, y), (-4, 2), axes.get_yaxis_transform()
    look: dict[str, Any] = {"fontsize": SMALL, "color": GREY, "horizontalalignment": "right"}
    axes.annotate(text, *where, textcoords="offset points", verticalalignment="bottom", **look)


def _savings(groups: Sequence[Group], baseline: Group, target: Target) -> Figure:
    """Draw the saving in FLOPs at every loss that the baseline reached by learning, not only at its last one."""
    figure, axes = new_figure()
    names = Names.of(groups)
    highest = min(baseline.mean_curve()[0].loss, np.inf if target.unigram_entropy is None else target.unigram_entropy)
    losses = np.linspace(highest, target.loss, _TARGET_LOSSES) if np.isfinite(highest) else np.array([])
    ends = []
    for number, group in enumerate(groups):
        look, label = line_style(number), names.labels[number]
        if group is baseline:
            axes.axhline(0, color=look["color"], linewidth=1.5, label=f"{label} (baseline)")
            ends.append(Label(target.loss, 0, f"{label} (baseline)", look["color"]))
            continue
        points = [_point(loss, savings) for loss in losses if (savings := _savings_at(group, baseline, loss))]
        if points:
            _draw_means(axes, points, look, label, len(groups))
            reached = f"  {signed(points[-1].mean, 1)}%" if points[-1].x == target.loss else ""
            ends.append(Label(points[-1].x, points[-1].mean, label + reached, look["color"]))
    axes.set(xlabel=f"{_LOSS} to reach", ylabel="saving S in FLOPs (%)")
    axes.set_ylim(bottom=max(_LEAST_SAVING, axes.get_ylim()[0]))
    axes.set_xlim(axes.get_xlim()[1], target.loss)
    set_title(figure, names.title, _about_seeds(groups))
    name_lines(figure, axes, ends)
    return figure


def _savings_at(group: Group, baseline: Group, loss: float) -> list[float] | None:
    """The saving of each seed in percent. None if a seed does not reach the loss."""
    own = cost_to_reach(baseline.mean_curve(), loss)
    costs = [cost_to_reach(run.curve, loss) for run in group.shown]
    if own is None:
        return None
    known = [100 * saving(cost.flops, own.flops) for cost in costs if cost is not None]
    return known if len(known) == len(costs) else None
