"""Write recipes against the best fixed model as tables, with remarks for the reader."""

from collections.abc import Callable, Iterable, Sequence

from rich.console import Console

from apollo_ds.experiments.compare.distances import RecipeDistance, cost_with_source, distances, has_finite_loss
from apollo_ds.experiments.compare.frontier import NEAR, Currency, FixedPoint, Frontier
from apollo_ds.experiments.compare.groups import Group
from apollo_ds.experiments.compare.measures import is_learned, unigram_entropy
from apollo_ds.experiments.compare.text import (
    NOTHING,
    Table,
    flops_spread,
    loss_spread,
    percent_spread,
    say,
    seconds_spread,
    signed_spread,
    tokens_spread,
)
from apollo_ds.models.families import shape_class_of
from apollo_ds.models.flops import parameters

_HEADING = "Against the best fixed model"
_EXPLAINED = f"""\
- The frontier is the lowest final loss that any of the fixed models comes to for a cost. Between two lengths of a model
  it is a straight line over the logarithm of the cost, which is a little above the true curve, the more so the further
  they lie apart. Nothing is known beyond a model's shortest and longest length, but for {NEAR:.0%} of its cost.
- distance in loss: a run's final held-out loss less the frontier's at the run's own cost. Below 0, the recipe is better
  than every fixed model.
- operations saved: 1 - C_method / C_frontier, where C_frontier is the least cost at which the frontier comes to the
  run's loss; "more than" where no fixed model comes to it, and the longest length of the best one there stands for it.
  Time saved is the same over seconds; it says something only of runs that each had the same machine to themselves.
- A run is compared with fixed models of its own seed where there are such, which takes out what a seed has in common.
- ± is the standard deviation over seeds."""
_IN_SHORT = (
    "distance: final loss less the best fixed model's at the same cost; saved: 1 - C_method / C_frontier; ± is the "
    "spread over seeds."
)
_HEADINGS = (
    "recipe",
    "seeds",
    "final held-out loss",
    "FLOPs",
    "best fixed model there",
    "distance in loss",
    "seeds below",
    "operations saved",
    "seconds",
    "distance at its time",
    "time saved",
)
_DISTANCES = ("best fixed model there", "distance in loss", "operations saved", "time saved")
_LENGTHS = ("steps", "seeds", "final held-out loss", "FLOPs", "on the frontier")
"""The columns that a terminal shows. The page has all columns."""
_FEW_SEEDS = 3
_FEW_SECONDS = 100
_MANY = 4
"""If a remark holds for all of at least this many recipes, they are not named one by one."""


def frontier_table(groups: Sequence[Group], frontier: Frontier) -> Table:
    """The table of distances from the frontier, over FLOPs and over seconds."""
    found = zip(distances(groups, frontier), distances(groups, frontier, "seconds"), strict=True)
    return Table(_HEADINGS, [_row(of_flops, of_time, frontier) for of_flops, of_time in found])


def _row(of_flops: RecipeDistance, of_time: RecipeDistance, frontier: Frontier) -> list[str]:
    group = of_flops.group
    row = [group.name, ", ".join(str(run.seed) for run in group.shown)]
    row.append(loss_spread([run.final.loss for run in group.shown]) + ("" if group.finished else " so far"))
    spent = [cost_with_source(run) or run.final.cost for run in group.shown]
    row += [flops_spread([cost.flops for cost in spent]), of_flops.best.name if of_flops.best else NOTHING]
    row += [_loss_cell(of_flops, frontier), _below_cell(of_flops), _saved_cell(of_flops)]
    row.append(seconds_spread([cost.seconds for cost in spent]))
    return [*row, _loss_cell(of_time, frontier), _saved_cell(of_time)]


def _loss_cell(distance: RecipeDistance, frontier: Frontier) -> str:
    if distance.runs:
        return signed_spread([run.loss for run in distance.runs])
    if not distance.group.finished:
        return "not yet"
    if not has_finite_loss(distance.group):
        return NOTHING
    if any(cost_with_source(run) is None for run in distance.group.finished):
        return "cost not known"
    return f"outside ({_spans(frontier, distance.currency)})"


def _below_cell(distance: RecipeDistance) -> str:
    below = sum(run.is_below for run in distance.runs)
    return f"{below} of {len(distance.runs)}" if distance.runs else NOTHING


def _saved_cell(distance: RecipeDistance) -> str:
    saved = distance.saved
    if saved is None:
        return NOTHING
    if saved.is_bound:
        return f"more than {saved.part:.1%}"
    return percent_spread(saved.part, [run.saved.part for run in distance.runs if run.saved])


def _spans(frontier: Frontier, currency: Currency) -> str:
    def shown(cost: float) -> str:
        return f"{cost:.3g}" if currency == "flops" or cost < _FEW_SECONDS else f"{cost:,.0f}"

    return ", ".join(
        f"{shown(low)} to {shown(high)}" if low < high else shown(low) for low, high in frontier.spans(currency)
    )


def points_table(frontier: Frontier) -> Table:
    """The table of the fixed models' results, at each of their lengths."""
    headings = ("fixed model", "steps", "seeds", "final held-out loss", "FLOPs", "tokens", "tokens a parameter")
    rows = [
        _point_row(model.name, point, is_best=frontier.loss_at(point.cost.flops) == point.loss)
        for model in frontier.models
        for point in model.points
    ]
    return Table((*headings, "seconds", "on the frontier"), rows)


def _point_row(name: str, point: FixedPoint, is_best: bool) -> list[str]:
    runs = point.group.runs
    finals = [run.final for run in runs]
    sizes = runs[0].recipe["model"]
    shape = shape_class_of(sizes).model_validate(sizes)
    return [
        name,
        f"{point.steps:,}",
        ", ".join(str(run.seed) for run in runs),
        loss_spread([final.loss for final in finals]),
        flops_spread([final.cost.flops for final in finals]),
        tokens_spread([final.cost.tokens for final in finals]),
        f"{point.cost.tokens / parameters(shape, shape.num_layers):.1f}",
        seconds_spread([final.cost.seconds for final in finals]),
        "yes" if is_best else "no",
    ]


def frontier_remarks(groups: Sequence[Group], frontier: Frontier) -> list[str]:
    """Sentences that the reader should know before using the distances."""
    found = distances(groups, frontier)
    remarks = _named(
        "Of fewer than three seeds, so that a distance may be chance",
        (one.group.name for one in found if one.runs and len(one.runs) < _FEW_SEEDS),
        len(groups),
    )
    remarks += _named(
        "No further from the frontier than its seeds are from each other, so that nothing follows",
        (one.group.name for one in found if one.loss and abs(one.loss.mean) <= (one.loss.deviation or -1)),
        len(groups),
    )
    both = list(zip(found, distances(groups, frontier, "seconds"), strict=True))
    remarks += _named_in_both(
        "Compared with the mean of the frontier's seeds, because its best model there was not trained with each seed "
        "of the recipe",
        both,
        lambda one: not one.is_paired,
    )
    remarks += _named_in_both(
        "A fixed model that cost less came lower than the best one there, so the distance in loss looks better than it "
        "is; train that model for longer",
        both,
        lambda one: one.is_dominated,
    )
    remarks += _named_in_both(
        "The best fixed model there has no length that comes to just the recipe's loss, so the saving is against "
        "another one and looks better than it is; train it for longer, or for shorter if the distance is above 0",
        both,
        lambda one: bool(one.saved and one.saved.is_flattered),
    )
    remarks += _named(
        "With the cost of the model that it starts from",
        (group.name for group in groups if any(run.source for run in group.finished)),
        len(groups),
    )
    return remarks + _named(
        "Not below the unigram entropy of the text, which a guess without context comes to, so that nothing was "
        "learned that could have cost less, and no saving is given",
        (one.group.name for one in found if one.runs and _has_learned_nothing(one.group)),
        len(groups),
    )


def _named_in_both(
    what: str, both: Sequence[tuple[RecipeDistance, RecipeDistance]], holds: Callable[[RecipeDistance], bool]
) -> list[str]:
    """Sentences that name the recipes for which something holds over FLOPs, then those for which only over time."""
    of_flops = [bool(one.runs) and holds(one) for one, _ in both]
    over_flops = [one.group.name for (one, _), told in zip(both, of_flops, strict=True) if told]
    alone = [
        timed.group.name
        for (_, timed), told in zip(both, of_flops, strict=True)
        if timed.runs and holds(timed) and not told
    ]
    over_time = "The same over time alone" if over_flops else f"Over time alone: {what[0].lower()}{what[1:]}"
    return _named(what, over_flops, len(both)) + _named(over_time, alone, len(both))


def _has_learned_nothing(group: Group) -> bool:
    """Whether one of a recipe's runs learned nothing, so that there is no mean saving."""
    return not all(is_learned(run.final.loss, unigram_entropy(run)) for run in group.finished)


def _named(what: str, names: Iterable[str], of: int) -> list[str]:
    """A sentence with the names of recipes, or with "all" if that is shorter."""
    told = list(names)
    if not told:
        return []
    whom = f"all {of}" if len(told) == of >= _MANY else " and ".join(told)
    return [f"{what}: {whom}."]


def print_frontier(groups: Sequence[Group], frontier: Frontier, console: Console) -> None:
    """Print the table and the remarks in a terminal."""
    say(console, f"{_HEADING}:")
    console.print(frontier_table(groups, frontier).only(*_DISTANCES))
    for told in (_IN_SHORT, *frontier_remarks(groups, frontier)):
        say(console, told)
    console.print(points_table(frontier).only(*_LENGTHS))


def frontier_lines(groups: Sequence[Group], frontier: Frontier) -> list[str]:
    """The lines of this section of the page, with its heading."""
    lines = [f"## {_HEADING}", "", *frontier_table(groups, frontier).markdown()]
    lines += [line for told in frontier_remarks(groups, frontier) for line in (told, "")]
    lines += [_EXPLAINED, "", "The fixed models, at each of their lengths:", ""]
    return lines + points_table(frontier).markdown()
