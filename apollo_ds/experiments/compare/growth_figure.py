"""Draw what growths do to the loss. Each recipe has a row of panels, and each growth a panel."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from apollo_ds.experiments.compare.groups import Group
from apollo_ds.experiments.compare.labels import Names
from apollo_ds.experiments.history import RunHistory
from apollo_ds.experiments.running_mean import running_mean
from apollo_ds.planning.in_words import loss_in_words
from data_prep.figure_style import (
    COLOURS,
    GREY,
    INK,
    SMALL,
    SMALL_ROW,
    count_steps,
    empty_figure,
    legend_below,
    set_title,
    style_axes,
    wrapped,
)

Numbers = npt.NDArray[np.float64]

_HELD_OUT = COLOURS[2]
_ROW_HEIGHT = 2.4
"""The height of a row of panels with a title of one line, in inches."""
_PANEL_WIDTH = 2.4
_LEAST_WIDTH = 4.8
_WINDOW = 0.04
"""The part of a run that is drawn to either side of a growth, as a fraction of its steps."""
_LEAST_WINDOW = 10
_SMOOTHED = 0.1
"""The training loss is averaged over this fraction of the window's steps."""
_LEAST_CHANGE = 0.0005
"""The smallest change in nats that three digits show."""
_ASIDE = 5
"""The losses before and after are shifted by this many points, so that neither hides the other."""


def growths_of_all(group: Group) -> int:
    """The number of growths that all shown runs of a group have reached."""
    return min(len(run.growths) for run in group.shown)


def draw_growths(groups: Sequence[Group]) -> Figure:
    """Draw the training loss of each step, and the held-out losses. All groups must have grown."""
    columns = max(growths_of_all(group) for group in groups)
    figure = empty_figure(max(_LEAST_WIDTH, _PANEL_WIDTH * columns), 1)
    names = Names.of(groups)
    titles = [wrapped(figure, name) for name in names.labels]
    heights = [_ROW_HEIGHT + SMALL_ROW * title.count("\n") for title in titles]
    figure.set_figheight(sum(heights) + _ROW_HEIGHT / 8)
    set_title(figure, names.title)
    rows = figure.subfigures(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for row, group, title in zip(rows, groups, titles, strict=True):
        set_title(row, title, size=SMALL)
        panels = row.subplots(1, columns, squeeze=False)[0]
        for number, axes in enumerate(panels):
            if number < growths_of_all(group):
                _growth(style_axes(axes), group.shown, number)
            else:
                axes.set_axis_off()
        panels[0].set_ylabel("loss (nats per token)")
    handles, labels = _legend([axes for row in rows for axes in row.axes])
    legend_below(figure, handles, labels, columns=3)
    return figure


def _growth(axes: Axes, runs: Sequence[RunHistory], number: int) -> None:
    window = max(_LEAST_WINDOW, round(_WINDOW * runs[0].recipe["steps"]))
    growths = [run.growths[number] for run in runs]
    steps, losses = _by_offset(runs, number, window, lambda run: [(e["step"], e["loss"]) for e in run.steps])
    axes.plot(steps, losses, "o", color=GREY, markersize=2.5, alpha=0.5, markeredgewidth=0, label="training")
    for side in (steps <= 0, steps > 0):  # the step of a growth is the last one before it
        mean = running_mean(losses[side].tolist(), max(5, round(_SMOOTHED * window)))
        axes.plot(steps[side], mean, color=GREY, linewidth=1.2, label="its running mean")
    held_out = _by_offset(runs, number, window, lambda run: [(p.step, p.loss) for p in run.curve])
    beside = held_out[0] != 0  # at 0 there are the losses before and after the growth
    if beside.any():
        axes.plot(held_out[0][beside], held_out[1][beside], "D", color=_HELD_OUT, markersize=4, label="held-out")
    pair = [_mean([growth[key] for growth in growths]) for key in ("loss_before", "loss_after")]
    sides = ((-_ASIDE, _HELD_OUT, "held-out before"), (_ASIDE, "white", "held-out after"))
    for loss, (aside, face, label) in zip(pair, sides, strict=True):
        if loss is not None:
            look: dict[str, Any] = {"color": _HELD_OUT, "markerfacecolor": face, "markersize": 7, "label": label}
            shifted = ScaledTranslation(aside / 72, 0, axes.figure.dpi_scale_trans)
            axes.plot([0], [loss], "o", transform=axes.transData + shifted, zorder=3, **look)
            axes.update_datalim([(0, loss)])  # matplotlib leaves shifted points out of the axes' limits
    axes.axvline(0, color=GREY, linewidth=0.7, linestyle=(0, (4, 3)), zorder=0)
    grown = f"{growths[0]['from']} \u2192 {growths[0]['to']} layers"
    axes.set_title(f"{grown}\n{_change(*pair)}", fontsize=SMALL, color=INK)
    axes.set_xlabel("steps since the growth")
    count_steps(axes)
    axes.set_xlim(-window - 1, window + 1)


def _mean(losses: Sequence[float | None]) -> float | None:
    """The mean of losses. None if one was not measured, or was not finite."""
    known = [loss for loss in losses if loss is not None]
    return float(np.mean(known)) if len(known) == len(losses) else None


def _change(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return ""
    change = loss_in_words(after - before, 3, sign=True) if abs(after - before) >= _LEAST_CHANGE else "by < 0.001"
    pair = f"{loss_in_words(before, 3)} \u2192 {loss_in_words(after, 3)}"
    return f"{pair} ({'unchanged' if before == after else change})".replace("-", "\u2212")


def _legend(panels: Sequence[Axes]) -> tuple[list[Artist], list[str]]:
    """The entries of the legend: everything that a panel shows, once."""
    found = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    shown = {label: handle for handle, label in reversed(found)}
    names = sorted(shown, key=[label for _, label in found].index)
    return [shown[name] for name in names], names


def _by_offset(
    runs: Sequence[RunHistory], number: int, window: int, series: Callable[[RunHistory], list[tuple[int, float | None]]]
) -> tuple[Numbers, Numbers]:
    """The mean of a series over runs, at each distance in steps from their growth."""
    found: dict[int, list[float]] = {}
    for run in runs:
        grown = run.growths[number]["step"]
        for step, value in series(run):
            if abs(step - grown) <= window and value is not None and np.isfinite(value):
                found.setdefault(step - grown, []).append(value)
    offsets = sorted(found)
    return np.array(offsets, dtype=float), np.array([np.mean(found[offset]) for offset in offsets], dtype=float)
