"""The figures of a comparison: the mean over seeds as a line, one standard deviation to either side as a band.

Costs and losses are averaged at each evaluation, so that a band is the spread of the losses there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apollo_ds.experiments.compare.groups import Group
from apollo_ds.experiments.compare.measures import Spread, Target, saving
from apollo_ds.experiments.history import Event, RunHistory, cost_to_reach, recorded_loss
from apollo_ds.experiments.style import (
    GREY,
    SMALL,
    SMALL_ROW,
    axis_of,
    legend_below,
    line_style,
    new_figure,
    style_axes,
    wrapped,
)

_LOSS = "held-out loss (nats per token)"
_TARGET_LOSSES = 80
_MOST_MARKERS = 12
_FEW = 4
"""Labels that fit into the axes."""
_LONG_LABEL = 36
"""Characters of a label beside which there is no room for another, nor for a curve."""
_ROW_HEIGHT = 2.1
"""Inches of a row of panels, with a title of one line."""
_WINDOW = 0.04
"""What is drawn of a run to either side of a growth, as a part of its steps."""


def draw(groups: Sequence[Group], baseline: Group, target: Target | None) -> dict[str, Figure]:
    """The figures by the name of their file."""
    compares = len(groups) > 1
    figures = {
        f"loss_against_{name}.png": draw_losses(groups, currency, target if compares else None)
        for name, currency in (("flops", "flops"), ("tokens", "tokens"), ("time", "seconds"))
    }
    if compares and target and target.is_learned:
        figures["saving_against_loss.png"] = _savings(groups, baseline, target)
    growing = [group for group in groups if _growths_of_all(group)]
    if growing:
        figures["loss_around_growth.png"] = _growths(growing)
    return figures


def _label(group: Group) -> str:
    seeds = f", {len(group.shown)} seeds" if len(group.shown) > 1 else ""
    return f"{group.name}{seeds}" + ("" if group.finished else " (unfinished)")


@dataclass(frozen=True)
class _Point:
    """A mean over seeds, and their standard deviation."""

    x: float
    mean: float
    deviation: float
    step: float = 0
    marked: bool = True
    """Whether it has a marker; what was measured at a growth has none."""


def _point(x: float, values: Sequence[float], step: float = 0, marked: bool = True) -> _Point:
    spread = Spread.of(values)
    return _Point(x, spread.mean, spread.deviation or 0.0, step, marked)


def _draw_band(axes: Axes, points: Sequence[_Point], look: dict[str, Any], label: str) -> None:
    marked = [number for number, point in enumerate(points) if point.marked]
    x, mean, deviation = (np.array([getattr(p, key) for p in points]) for key in ("x", "mean", "deviation"))
    axes.plot(x, mean, label=label, markevery=marked[:: max(1, -(-len(marked) // _MOST_MARKERS))], **look)
    if deviation.any():
        axes.fill_between(x, mean - deviation, mean + deviation, color=look["color"], alpha=0.2, linewidth=0)


def draw_losses(groups: Sequence[Group], currency: str, target: Target | None) -> Figure:
    """Held-out loss over what was spent; a growth is an open circle."""
    figure, axes = new_figure()
    spent = [getattr(run.final.cost, currency) for group in groups for run in group.shown]
    label, unit = axis_of(currency, max(spent))
    for number, group in enumerate(groups):
        look = line_style(number)
        grown = [_losses_at_growth(group, at, currency, unit) for at in range(_growths_of_all(group))]
        points = _evaluations(group, currency, unit) + [point for pair in grown for point in pair]
        points = sorted((point for point in points if np.isfinite(point.mean)), key=lambda point: point.step)
        _draw_band(axes, points, look, _label(group))
        for at, (_, after) in enumerate(grown):
            axes.plot(after.x, after.mean, "o", color=look["color"], markersize=7, markerfacecolor="white")
            if len(groups) == 1:
                _name_growth(axes, _layers(group.shown[0].growths[at]), after, max(spent) / unit)
    if any(_growths_of_all(group) for group in groups):
        axes.plot([], [], "o", color=GREY, markersize=7, markerfacecolor="white", label="growth")
    if target:
        axes.axhline(target.loss, color=GREY, linewidth=0.9, linestyle=":", label="baseline's final loss")
    entropy = groups[0].runs[0].start.get("unigram_entropy")
    if entropy is not None and len(groups) == 1:
        axes.axhline(entropy, color=GREY, linewidth=0.9, linestyle="--", label="unigram entropy")
    axes.set(xlabel=label, ylabel=_LOSS)
    axes.set_xlim(left=0)
    _legend(figure, axes)
    return figure


def _name_growth(axes: Axes, text: str, point: _Point, end: float) -> None:
    """To the right of the point and above the curve, which falls; in the right half to the left and below it."""
    near_the_end = point.x > end / 2
    offset, ha, va = ((-6, -9), "right", "top") if near_the_end else ((9, 3), "left", "bottom")
    axes.annotate(text, (point.x, point.mean), offset, textcoords="offset points", fontsize=SMALL, ha=ha, va=va)


def _legend(figure: Figure, axes: Axes) -> None:
    """Within the axes if there are few short labels, else below them."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) <= _FEW and max(map(len, labels)) <= _LONG_LABEL:
        axes.legend(frameon=False, fontsize=SMALL)
    else:
        legend_below(figure, handles, labels, columns=2)


def _evaluations(group: Group, currency: str, unit: float) -> list[_Point]:
    """Mean cost and mean loss at each evaluation of a group."""
    return [
        _point(
            fmean(getattr(at.cost, currency) for at in evaluations) / unit,
            [at.loss for at in evaluations],
            fmean(at.step for at in evaluations),
        )
        for evaluations in group.evaluations()
    ]


def _growths_of_all(group: Group) -> int:
    return min(len(run.growths) for run in group.shown)


def _losses_at_growth(group: Group, number: int, currency: str, unit: float) -> tuple[_Point, _Point]:
    """Before and after."""
    growths = [run.growths[number] for run in group.shown]
    costs = [run.cost_at(growth["step"]) for run, growth in zip(group.shown, growths, strict=True)]
    x = fmean(getattr(cost, currency) for cost in costs) / unit
    step = fmean(growth["step"] for growth in growths)
    before, after = (
        _point(x, [recorded_loss(growth[key]) for growth in growths], step, marked=False)
        for key in ("loss_before", "loss_after")
    )
    return before, after


def _layers(growth: Event) -> str:
    return f"{growth['from']}\u2192{growth['to']} layers"


def _savings(groups: Sequence[Group], baseline: Group, target: Target) -> Figure:
    """Saving in FLOPs at every loss that the baseline came to by learning, not at its last alone."""
    figure, axes = new_figure()
    highest = min(baseline.mean_curve()[0].loss, np.inf if target.unigram_entropy is None else target.unigram_entropy)
    losses = np.linspace(highest, target.loss, _TARGET_LOSSES) if np.isfinite(highest) else np.array([])
    for number, group in enumerate(groups):
        if group is baseline:
            axes.axhline(0, color=line_style(number)["color"], linewidth=1.5, label=f"{group.name} (baseline)")
            continue
        points = [_point(loss, savings) for loss in losses if (savings := _savings_at(group, baseline, loss))]
        if points:
            _draw_band(axes, points, line_style(number), _label(group))
    axes.axvline(target.loss, color=GREY, linewidth=0.9, linestyle=":", label="baseline's final loss")
    axes.set(xlabel=f"{_LOSS} to reach", ylabel="saving S in FLOPs (%)")
    axes.invert_xaxis()
    _legend(figure, axes)
    return figure


def _savings_at(group: Group, baseline: Group, loss: float) -> list[float] | None:
    """Each seed's saving in percent; None if one does not come to the loss."""
    own = cost_to_reach(baseline.mean_curve(), loss)
    costs = [cost_to_reach(run.curve, loss) for run in group.shown]
    if own is None:
        return None
    known = [100 * saving(cost.flops, own.flops) for cost in costs if cost is not None]
    return known if len(known) == len(costs) else None


def _growths(groups: Sequence[Group]) -> Figure:
    """A row of panels a recipe, a panel a growth: training loss of each step, held-out loss where it was measured."""
    columns = max(_growths_of_all(group) for group in groups)
    figure, _ = new_figure(max(4.5, 2.4 * columns))
    figure.clear()
    titles = [wrapped(figure, group.name) for group in groups]
    heights = [_ROW_HEIGHT + SMALL_ROW * title.count("\n") for title in titles]
    figure.set_figheight(sum(heights))
    rows = figure.subfigures(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for row, group, title in zip(rows, groups, titles, strict=True):
        row.suptitle(title, fontsize=SMALL)
        panels = row.subplots(1, columns, squeeze=False)[0]
        for number, axes in enumerate(panels):
            if number < _growths_of_all(group):
                _growth(style_axes(axes), group.shown, number)
            else:
                axes.set_axis_off()
        panels[0].set_ylabel("loss (nats per token)", fontsize=SMALL)
    handles, labels = rows[0].axes[0].get_legend_handles_labels()
    legend_below(figure, handles, labels, columns=4)
    return figure


def _growth(axes: Axes, runs: Sequence[RunHistory], number: int) -> None:
    window = max(10, round(_WINDOW * runs[0].recipe["steps"]))
    growths = [run.growths[number] for run in runs]
    training = _by_offset(runs, number, window, lambda run: [(e["step"], e["loss"]) for e in run.steps])
    axes.plot(*training, color=GREY, linewidth=0.8, label="training")
    held_out = _by_offset(runs, number, window, lambda run: [(p.step, p.loss) for p in run.curve])
    axes.plot(*held_out, "D", color="black", markersize=4, label="held-out")
    for key, face, label in (
        ("loss_before", "black", "held-out before"),
        ("loss_after", "white", "and after the growth"),
    ):
        losses = [growth[key] for growth in growths if growth[key] is not None]
        if losses:
            axes.plot([0], [np.mean(losses)], "o", color="black", markersize=7, markerfacecolor=face, label=label)
    axes.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_title(_layers(growths[0]), fontsize=SMALL)
    axes.set_xlabel("steps since the growth", fontsize=SMALL)


def _by_offset(
    runs: Sequence[RunHistory], number: int, window: int, series: Callable[[RunHistory], list[tuple[int, float | None]]]
) -> tuple[list[int], list[float]]:
    """The mean over runs of what they have at each step's distance to their growth."""
    found: dict[int, list[float]] = {}
    for run in runs:
        grown = run.growths[number]["step"]
        for step, value in series(run):
            if abs(step - grown) <= window and value is not None and np.isfinite(value):
                found.setdefault(step - grown, []).append(value)
    offsets = sorted(found)
    return offsets, [float(np.mean(found[offset])) for offset in offsets]
