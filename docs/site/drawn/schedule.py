"""docs/concepts/schedule.png: what the schedule of a recipe says about each of its steps."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from apollo_ds import load_recipe
from data_prep.figure_style import COLOURS, INK, SMALL, WIDTH, count_steps, darker, empty_figure, style_axes

WORDS = ("method=apollo", "method.grow_at=[0.15,0.35,0.6]")


def facts() -> dict[str, Any]:
    """Stages, drawn depths and learning rates, from `Schedule.at` of the default recipe with other options."""
    schedule = load_recipe("demo", WORDS).schedule()
    plans = [schedule.at(step) for step in range(schedule.total_steps)]
    return {
        "first_steps": list(schedule.first_steps),
        "layers": [stage.unique_layers for stage in schedule.stages],
        "depths": [plan.drawn_depth for plan in plans],
        "rates": [round(plan.learning_rate, 9) for plan in plans],
    }


def draw(drawn: dict[str, Any]) -> Figure:
    """Depth and learning rate against the step."""
    figure = empty_figure(WIDTH, 3.4)
    depth, rate = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
    style_axes(depth)
    style_axes(rate)
    steps = np.arange(len(drawn["depths"]))
    ends = [*drawn["first_steps"][1:], len(steps)]
    depth.plot(steps, drawn["depths"], ".", markersize=2, color=COLOURS[2], zorder=3)
    for first, end, layers in zip(drawn["first_steps"], ends, drawn["layers"], strict=True):
        depth.plot([first, end], [layers, layers], color=COLOURS[1], linewidth=5, solid_capstyle="butt")
        name = "1 layer trains" if layers == 1 else f"{layers} layers train"
        depth.text((first + end) / 2, 13.2, name, fontsize=SMALL, color=darker(COLOURS[1]), ha="center")
    depth.text(375, 5, "line: layers that have weights\ndot: layers that one step runs", fontsize=SMALL, color=INK)
    for axes in (depth, rate):
        for first in drawn["first_steps"][1:]:
            axes.axvline(first, color=INK, linewidth=0.6, linestyle=":")
    rate.plot(steps, drawn["rates"], color=COLOURS[3], linewidth=1.5)
    depth.set(ylabel="layers that run", ylim=(0, 14.5), yticks=range(0, 13, 3), xlim=(0, len(steps)))
    rate.set(ylabel="learning rate", ylim=(0, None), xlabel="step")
    count_steps(rate)
    return figure
