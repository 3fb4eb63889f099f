"""Compute the measures of a comparison: costs at equal loss, losses at equal cost, and their spread over seeds."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from statistics import fmean, stdev
from typing import Self

from apollo_ds.experiments.compare.groups import Group, mean_cost
from apollo_ds.experiments.history import Cost, RunHistory, cost_to_reach, loss_at

BUDGETS = (0.25, 0.5, 0.75, 1.0)
"""The fractions of the baseline's FLOPs at which losses are compared."""
_AT_BUDGET = 0.99
"""If a run ends after at least this fraction of a budget, its last loss counts there."""


@dataclass(frozen=True)
class Spread:
    """A mean over seeds, and their sample standard deviation, which is None for a single seed."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """The spread of these values. There must be at least one."""
        values = list(values)
        known = len(values) > 1 and all(isfinite(value) for value in values)
        return cls(fmean(values), stdev(values) if known else None)


def source_cost(run: RunHistory) -> Cost:
    """The cost of the model that a run started from. It is zero if there is none, or if its cost is not known."""
    return run.source or Cost(0.0, 0, 0.0)


def unigram_entropy(run: RunHistory) -> float | None:
    """The loss of the best guess without context, in nats per token. None if an earlier version did not record it.

    It is the same for all runs that can be compared.
    """
    return run.start.get("unigram_entropy")


def is_learned(loss: float, entropy: float | None) -> bool:
    """Whether a held-out loss shows any learning. Only then is it a saving to reach it for less."""
    return entropy is None or loss < entropy


def has_learned(group: Group) -> bool:
    """Whether the mean of the last losses of a recipe's shown runs shows any learning."""
    return is_learned(fmean(run.final.loss for run in group.shown), unigram_entropy(group.runs[0]))


@dataclass(frozen=True)
class Target:
    """The baseline's final held-out loss, and its cost."""

    loss: float
    """The mean over the baseline's finished runs, in nats per token."""
    cost: Cost
    """The cost at which the mean curve first reaches that loss. It is the end, unless the loss rose before the end."""
    source: Cost
    """The mean cost of the models that the baseline's runs started from, as far as it is known."""
    unigram_entropy: float | None
    """The loss of the best guess without context. None if an earlier version did not record it."""

    @property
    def is_learned(self) -> bool:
        """Whether the loss is below the unigram entropy. True if that is not known."""
        return is_learned(self.loss, self.unigram_entropy)

    @classmethod
    def of(cls, baseline: Group) -> Self | None:
        """The target that a baseline sets. None if none of its runs has finished, or if its loss is not finite."""
        finals = [run.final for run in baseline.finished]
        if not finals or not all(isfinite(final.loss) for final in finals):
            return None
        loss = fmean(final.loss for final in finals)
        cost = cost_to_reach(baseline.mean_curve(), loss) or mean_cost([final.cost for final in finals])
        source = mean_cost([source_cost(run) for run in baseline.finished])
        return cls(loss, cost, source, unigram_entropy(baseline.runs[0]))


@dataclass(frozen=True)
class Reach:
    """How a run reached the target loss."""

    run: RunHistory
    cost: Cost | None
    """The run's cost when it reached the loss. None if it never did."""
    ends_above: bool
    """Whether the run reached the loss, but its last loss is above it again."""

    @classmethod
    def of(cls, run: RunHistory, loss: float) -> Self:
        """Find how a run reached a loss, from its curve of held-out losses."""
        cost = cost_to_reach(run.curve, loss)
        return cls(run, cost, cost is not None and run.final.loss > loss)


def costs_to_reach(group: Group, target: Target) -> list[Cost] | None:
    """The cost of each shown run of a recipe to reach the target's loss. None if one of them does not reach it."""
    reached = [Reach.of(run, target.loss).cost for run in group.shown]
    costs = [cost for cost in reached if cost is not None]
    return costs if len(costs) == len(reached) else None


def saving(cost: float, baseline: float) -> float:
    """S = 1 - C_method / C_scratch."""
    return 1 - cost / baseline


def speed_up(cost: float, baseline: float) -> float:
    """U = C_scratch / C_method - 1."""
    return baseline / cost - 1


@dataclass(frozen=True)
class AtBudget:
    """A run's held-out loss after a number of FLOPs."""

    loss: float | None
    """The loss. None before the first evaluation, or if the run has not come so far."""
    spent: float
    """The fraction of the budget that was spent. It is below 1 for a run that ended before."""


def at_budget(run: RunHistory, flops: float) -> AtBudget:
    """The loss of a run after `flops` FLOPs. If it finished with fewer, its last loss."""
    last = run.final.cost.flops
    if last >= flops:
        return AtBudget(loss_at(run.curve, flops), 1.0)
    if not run.finished:
        return AtBudget(None, last / flops)
    return AtBudget(run.final.loss, 1.0 if last >= _AT_BUDGET * flops else last / flops)
