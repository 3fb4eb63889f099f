"""Find the learning rate at which each recipe ends lowest."""

from collections.abc import Sequence
from statistics import fmean

from apollo_ds.experiments.compare.groups import Group
from apollo_ds.experiments.compare.recipes import identity


def rate(group: Group) -> float:
    """The peak learning rate of a group."""
    return float(group.runs[0].recipe["learning_rate"])


def end(group: Group) -> float:
    """The final held-out loss of a group: the mean over the shown seeds."""
    return fmean(run.final.loss for run in group.shown)


def without_rate(group: Group) -> str:
    """A text that is equal for the groups of one recipe at several learning rates."""
    return identity(group.runs[0], beside=frozenset({"learning_rate"}))


def best_rates(groups: Sequence[Group]) -> list[Group]:
    """For each recipe, in order, the group with the learning rate that ends lowest.

    Only rates with the most finished seeds can be chosen, so that a single lucky run does not decide.
    """
    chosen: dict[str, Group] = {without_rate(group): group for group in groups}  # the order of the recipes
    for group in groups:
        best = chosen[without_rate(group)]
        if (-len(group.finished), end(group)) < (-len(best.finished), end(best)):
            chosen[without_rate(group)] = group
    return list(chosen.values())


def at_the_edge(group: Group, groups: Sequence[Group]) -> str | None:
    """`highest` or `lowest` if the group has the highest or lowest of several rates tried for the recipe. Else None."""
    rates = {rate(other) for other in groups if without_rate(other) == without_rate(group)}
    ends = {max(rates): "highest", min(rates): "lowest"} if len(rates) > 1 else {}
    return ends.get(rate(group))
