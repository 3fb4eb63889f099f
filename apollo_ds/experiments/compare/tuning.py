"""Of each recipe, the learning rate at which it ends lowest."""

from collections.abc import Sequence
from statistics import fmean

from apollo_ds.experiments.compare.groups import Group
from apollo_ds.experiments.compare.recipes import identity


def rate(group: Group) -> float:
    """Its peak learning rate."""
    return float(group.runs[0].recipe["learning_rate"])


def end(group: Group) -> float:
    """Its final held-out loss, the mean over the shown seeds."""
    return fmean(run.final.loss for run in group.shown)


def without_rate(group: Group) -> str:
    """What the groups of one recipe at several learning rates have in common."""
    return identity(group.runs[0], beside=frozenset({"learning_rate"}))


def best_rates(groups: Sequence[Group]) -> list[Group]:
    """Of the groups of each recipe, that with the learning rate that ends lowest, in the order of the recipes.

    Only rates with the most finished seeds can be chosen, so that a single lucky run does not decide.
    """
    chosen: dict[str, Group] = {without_rate(group): group for group in groups}  # the order of the recipes
    for group in groups:
        best = chosen[without_rate(group)]
        if (-len(group.finished), end(group)) < (-len(best.finished), end(best)):
            chosen[without_rate(group)] = group
    return list(chosen.values())


def at_the_edge(group: Group, groups: Sequence[Group]) -> str | None:
    """`highest` or `lowest` where none of several rates beyond this one was tried for the recipe; else None."""
    rates = {rate(other) for other in groups if without_rate(other) == without_rate(group)}
    ends = {max(rates): "highest", min(rates): "lowest"} if len(rates) > 1 else {}
    return ends.get(rate(group))
