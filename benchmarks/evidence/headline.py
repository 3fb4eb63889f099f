"""The picture at the top of the README and of docs/results/savings.md, from the record of one grid."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from questions import HERE, SAVING
from saving import grown_and_frontier

from apollo_ds.experiments.compare.distances import RecipeDistance, distances
from apollo_ds.experiments.compare.measures import Spread
from data_prep.figure_style import COLOURS, GREY, INK, SMALL, darker, new_figure, save_picture, set_title, signed

GRID = HERE / SAVING / "gpt2-muon.yaml"
PICTURE = HERE.parents[1] / "docs" / "results" / "savings.png"
ROWS = {
    "short_to_long,divisors=4-2-1,until=0.3-0.6,steps=7780": "Short samples first",
    "apollo,sampler=none,layers=3-6-12,grow_at=0.08-0.2+short_to_long,divisors=4-2-1,until=0.3-0.6,steps=8030": (
        "Short samples first,\nand 3, 6, then 12 layers"
    ),
    "apollo,steps=5110": "Apollo: shared layers,\n1, 3, 6, then 12",
    "apollo,sampler=none,layers=3-6-12,grow_at=0.05-0.12,steps=4810": "Early doubling:\n3, 6, then 12 layers",
    "apollo,sampler=none,layers=6-12,grow_at=0.5,steps=5770": "6, then 12 layers,\nat half of the run",
    "apollo,sampler=none,layers=6-12,grow_at=0.25,new_layers=silent,growth_map=stack,steps=5060": (
        "6, then 12 layers, the new\nones silent at first"
    ),
}
"""Recipes of the grid, by the names of their folders, and what the picture calls them."""
_TITLE = "What growing saves: held-out loss beside the best model that does not grow"
_NOTES = (
    "GPT-2, 12 layers x 32, Muon, real books, 15.4 TFLOP each: 49 tokens a parameter",
    "a point is a seed, a bar their mean; green: three seeds are better; grey: seeds disagree, or there is one only",
    "fewer, more: operations, beside what the best model that does not grow needs for the same loss",
)
_TOLD_AT = 0.046
"""Where on the axis the words of each row begin, in nats per token."""


def write() -> None:
    """Draw the picture."""
    save_picture(draw(), PICTURE)


def draw() -> Figure:
    """Each recipe's distance in loss, a row each, left of the line where it saves."""
    grown, frontier = grown_and_frontier(GRID)
    found = {one.group.name: one for one in distances(grown, frontier)}
    figure, axes = new_figure(height=3.6)
    for row, name in enumerate(ROWS):
        _draw_row(axes, row, found[name])
    axes.axvline(0, color=GREY, linewidth=1.5)
    axes.set_yticks(range(len(ROWS)), list(ROWS.values()))
    axes.set_ylim(len(ROWS) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlim(-0.035, 0.068)
    axes.set_xticks([-0.03, -0.02, -0.01, 0, 0.01, 0.02, 0.03, 0.04])
    axes.set_xlabel("better  \u2190  distance in held-out loss (nats per token)  \u2192  worse", loc="left")
    set_title(figure, _TITLE, _NOTES)
    return figure


def _draw_row(axes: Axes, row: int, distance: RecipeDistance) -> None:
    losses = [run.loss for run in distance.runs]
    mean = Spread.of(losses).mean
    colour = COLOURS[3] if len(losses) > 1 and max(losses) < 0 else GREY
    axes.plot(losses, [row] * len(losses), "o", color=colour, markersize=5, alpha=0.8)
    axes.plot([mean, mean], [row - 0.22, row + 0.22], color=colour, linewidth=2.5)
    saved = [run.saved.part for run in distance.runs if run.saved]
    seeds = "1 seed" if len(losses) == 1 else f"{len(losses)} seeds"
    text = f"{signed(mean)}, {seeds}" + (f"\n{_operations(saved)}" if len(saved) == len(losses) else "")
    ink = INK if colour == GREY else darker(colour)
    axes.text(_TOLD_AT, row, text, fontsize=SMALL, color=ink, verticalalignment="center")


def _operations(parts: list[float]) -> str:
    """How many operations fewer, or more, the recipe needs than the best fixed model, in the mean over seeds."""
    spread = Spread.of(parts)
    told = f"{abs(spread.mean):.1%}"
    if spread.deviation is not None:
        told += f" ± {spread.deviation:.1%}"
    return f"{told} {'fewer' if spread.mean > 0 else 'more'}"
