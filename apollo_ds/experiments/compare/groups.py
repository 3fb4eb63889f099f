"""Group runs of one recipe that differ only in the seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from apollo_ds.errors import UserError
from apollo_ds.experiments.compare.recipes import Flat, differing_keys, flat_recipe, identity, names
from apollo_ds.experiments.history import Cost, Curve, Evaluation, RunHistory
from data_prep.did_you_mean import choice


@dataclass(frozen=True)
class Group:
    """Runs of one recipe that differ only in the seed, in the order of their seeds."""

    name: str
    runs: tuple[RunHistory, ...]

    @property
    def finished(self) -> tuple[RunHistory, ...]:
        """The runs that have finished."""
        return tuple(run for run in self.runs if run.finished)

    @property
    def shown(self) -> tuple[RunHistory, ...]:
        """The runs in means and curves: the finished ones, or all if none has finished."""
        return self.finished or self.runs

    @property
    def flat(self) -> Flat:
        """The recipe that the runs have in common, with dotted keys."""
        return flat_recipe(self.runs[0])

    def evaluations(self) -> list[list[Evaluation]]:
        """The evaluations of all shown runs, for each step at which all of them have one."""
        by_step = [{point.step: point for point in run.curve} for run in self.shown]
        return [
            [points[step] for points in by_step] for step in by_step[0] if all(step in points for points in by_step)
        ]

    def mean_curve(self) -> Curve:
        """The mean cost and the mean loss of the runs at each of `evaluations`."""
        return [
            Evaluation(points[0].step, mean_cost([point.cost for point in points]), fmean(p.loss for p in points))
            for points in self.evaluations()
        ]


def mean_cost(costs: Sequence[Cost]) -> Cost:
    """The mean of costs, in each currency."""
    return Cost(*(fmean(getattr(cost, key) for cost in costs) for key in ("flops", "tokens", "seconds")))


def group_runs(runs: Sequence[RunHistory]) -> list[Group]:
    """Group runs by recipe, whatever their seeds. The order is that in which each recipe first appears.

    The name of a group is its method, with what tells it from other groups of that method (`recipes.names`).

    Raises:
        UserError: two runs have the same recipe and the same seed.
    """
    by_recipe: dict[str, list[RunHistory]] = {}
    for run in runs:
        by_recipe.setdefault(identity(run), []).append(run)
    members = [tuple(sorted(same, key=lambda run: run.seed)) for same in by_recipe.values()]
    for same in members:
        for seed, twins in groupby(same, key=lambda run: run.seed):
            first, *others = twins
            if others:
                raise UserError(
                    f"{first.folder} and {others[0].folder} are the same recipe with the same seed, {seed}; "
                    "name one of them"
                )
    told = names([(flat_recipe(same[0]), same[0].folder) for same in members])
    return [Group(name, same) for name, same in zip(told, members, strict=True)]


def differing(groups: Sequence[Group]) -> dict[str, list[Any]]:
    """The keys of the recipe in which groups differ, without the method's own keys, and the value of each group."""
    recipes = [group.flat for group in groups]
    keys = [key for key in differing_keys(recipes) if not key.startswith("method.")]
    return {key: [recipe.get(key) for recipe in recipes] for key in keys}


def find_group(groups: Sequence[Group], wanted: str) -> Group:
    """Find the group of a run's folder, or the group with this name.

    Raises:
        UserError: there is no such group.
    """
    for group in groups:
        if wanted == group.name or any(run.folder.resolve() == Path(wanted).resolve() for run in group.runs):
            return group
    fix = choice([group.name for group in groups], wanted)
    raise UserError(f"--baseline {wanted}: there is no such run, and no such name in the table; {fix}")
