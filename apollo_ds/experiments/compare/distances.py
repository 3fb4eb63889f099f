"""Measure how far recipes are from the best fixed model: in loss at equal cost, and in cost at equal loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from apollo_ds.experiments.compare.frontier import NEAR, Currency, FixedModel, Frontier
from apollo_ds.experiments.compare.groups import Group, mean_cost
from apollo_ds.experiments.compare.measures import Spread, is_learned, saving, unigram_entropy
from apollo_ds.experiments.history import Cost, RunHistory

_EQUAL = 1e-6
"""A distance below this many nats per token counts as a rounding error."""


@dataclass(frozen=True)
class Saved:
    """The fraction of the frontier's cost for a loss that a run saved."""

    part: float
    is_bound: bool
    """Whether the run saved more than `part`, because no fixed model reaches the loss."""
    is_flattered: bool = False
    """Whether `part` is too high, because the best model there was not trained to just this loss."""


@dataclass(frozen=True)
class Distance:
    """The distance of one run from the frontier."""

    loss: float
    """The run's final held-out loss minus the frontier's at its cost, in nats per token. Below 0 the run is better."""
    saved: Saved | None
    """The saving. None if the loss is higher than the beginning of the frontier, if nothing was learned, or if no bound
    above 0 is known."""

    @property
    def is_below(self) -> bool:
        """Whether the run's loss is lower than the frontier's."""
        return self.loss < -_EQUAL


@dataclass(frozen=True)
class RecipeDistance:
    """The distances of a recipe's finished runs, each at its own cost."""

    group: Group
    currency: Currency
    best: FixedModel | None
    """The model that is best at the recipe's mean cost."""
    is_paired: bool
    """Whether each run is compared with the frontier of its own seed."""
    is_dominated: bool
    """Whether a fixed model comes to a lower loss than the frontier's for less, so that its line ends too early."""
    runs: tuple[Distance, ...]
    """In the order of the seeds; empty where the cost of one lies outside of the frontier or is not known, or its loss
    is not finite."""

    @property
    def loss(self) -> Spread | None:
        """The mean and spread of the distances in loss. None if there are none."""
        return Spread.of(run.loss for run in self.runs) if self.runs else None

    @property
    def saved(self) -> Saved | None:
        """The mean saving over seeds. It is a bound if that of one seed is, and None if that of one is not known."""
        known = [run.saved for run in self.runs if run.saved]
        if not known or len(known) < len(self.runs):
            return None
        is_bound, is_flattered = any(one.is_bound for one in known), any(one.is_flattered for one in known)
        return Saved(Spread.of(one.part for one in known).mean, is_bound, is_flattered)


def cost_with_source(run: RunHistory) -> Cost | None:
    """The cost of a run together with that of the model that it started from. None if the latter is not known."""
    if run.source:
        return run.final.cost + run.source
    return None if "source" in run.start else run.final.cost


def has_finite_loss(group: Group) -> bool:
    """Whether each of its finished runs ended with a finite loss."""
    return all(isfinite(run.final.loss) for run in group.finished)


def distances(groups: Sequence[Group], frontier: Frontier, currency: Currency = "flops") -> list[RecipeDistance]:
    """The distances of the finished runs of each recipe from the frontier.

    If possible, a run is compared with the frontier of its own seed, so that the influence of the seed cancels. For
    this, each seed of the recipe must have runs of the model that is best at its cost, at the lengths just below and
    above the cost. Otherwise all runs are compared with the frontier of the means.
    """
    return [_of_recipe(group, frontier, currency) for group in groups]


def _of_recipe(group: Group, frontier: Frontier, currency: Currency) -> RecipeDistance:
    spent = [cost for run in group.finished if (cost := cost_with_source(run))]
    if not spent or len(spent) < len(group.finished) or not has_finite_loss(group):
        return RecipeDistance(group, currency, None, False, False, ())
    mean = getattr(mean_cost(spent), currency)
    best, is_dominated = frontier.best_at(mean, currency), frontier.is_dominated_at(mean, currency)
    at = [(run, getattr(cost, currency)) for run, cost in zip(group.finished, spent, strict=True)]
    is_paired = all(_has_best(frontier, run.seed, cost, currency) for run, cost in at)
    found = [_of_run(run, cost, frontier.of_seed(run.seed) if is_paired else frontier, currency) for run, cost in at]
    known = tuple(distance for distance in found if distance)
    return RecipeDistance(group, currency, best, is_paired, is_dominated, known if len(known) == len(found) else ())


def _has_best(frontier: Frontier, seed: int, cost: float, currency: Currency) -> bool:
    """Whether a seed has runs of the model that is best at a cost, at the lengths just below and above the cost."""
    best = frontier.best_at(cost, currency)
    own = next((model for model in frontier.of_seed(seed).models if best and model.name == best.name), None)
    if best is None or own is None or own.loss_at(cost, currency) is None:
        return False
    return best.lengths_around(cost, currency) <= {point.steps for point in own.points}


def _of_run(run: RunHistory, cost: float, frontier: Frontier, currency: Currency) -> Distance | None:
    there = frontier.loss_at(cost, currency)
    if there is None:
        return None
    saved = (
        _saved(run.final.loss, cost, frontier, currency) if is_learned(run.final.loss, unigram_entropy(run)) else None
    )
    return Distance(run.final.loss - there, saved)


def _saved(loss: float, cost: float, frontier: Frontier, currency: Currency) -> Saved | None:
    end = frontier.holds_to(cost, currency)
    if end is not None and loss < frontier.lowest:
        bound = saving(cost, end)
        return Saved(bound, is_bound=True) if bound > 0 else None
    of_frontier = frontier.cost_of(loss, currency)
    if of_frontier is None or end is None:
        return None
    there = frontier.loss_at(of_frontier, currency)
    begins_too_late = there is not None and there < loss - _EQUAL
    is_flattered = begins_too_late or of_frontier > end * (1 + NEAR)
    return Saved(saving(cost, of_frontier), is_bound=False, is_flattered=is_flattered)
