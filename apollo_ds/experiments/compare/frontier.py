"""The best fixed model for the same cost: the lowest loss that any model of one size, trained to its end, comes to."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from math import exp, log
from statistics import fmean
from typing import Any, Literal, Self

from apollo_ds.config.recipe import Recipe
from apollo_ds.errors import UserError
from apollo_ds.experiments.compare.fixed_runs import check_fixed, policy_of
from apollo_ds.experiments.compare.groups import Group, group_runs, mean_cost
from apollo_ds.experiments.compare.recipes import differing_keys, flat_values
from apollo_ds.experiments.history import Cost, RunHistory
from data_prep.counted import counted

Currency = Literal["flops", "tokens", "seconds"]
NEAR = 0.01
"""A length stands for costs that are at most this part away from its own."""
_OF_LENGTH = {"steps", "warmup_fraction", "decay_fraction", "branch_from", "init_from", "seed"}
"""Keys that say how long a model trains, or by which way; those with which a run may go on do not tell models apart."""


@dataclass(frozen=True)
class FixedPoint:
    """One length of a fixed model: the means over its seeds."""

    group: Group
    loss: float
    """Final held-out loss, in nats per token."""
    cost: Cost

    @classmethod
    def of(cls, group: Group) -> Self:
        """That of finished runs of one recipe."""
        finals = [run.final for run in group.runs]
        return cls(group, fmean(final.loss for final in finals), mean_cost([final.cost for final in finals]))

    @property
    def steps(self) -> int:
        """How many it trained."""
        return self.group.runs[0].recipe["steps"]

    def of_seed(self, seed: int) -> Self | None:
        """The same of one seed; None if there is no such run."""
        runs = tuple(run for run in self.group.runs if run.seed == seed)
        return type(self).of(replace(self.group, runs=runs)) if runs else None


@dataclass(frozen=True)
class FixedModel:
    """A model at its lengths, and its line: the loss over the logarithm of the cost, straight between two lengths.

    The line ends with its shortest and its longest length. Within `NEAR` beyond one of them, that one's loss holds.
    """

    name: str
    points: tuple[FixedPoint, ...]

    def line(self, currency: Currency) -> list[tuple[float, float]]:
        """Cost and loss, by rising cost; of points with one number of steps, or one cost, the lowest."""
        falling = sorted(self.points, key=lambda point: -point.loss)
        by_steps = {point.steps: point for point in falling}
        by_cost = {getattr(point.cost, currency): point.loss for point in falling if by_steps[point.steps] is point}
        return sorted(by_cost.items())

    def span(self, currency: Currency) -> tuple[float, float]:
        """The costs of its shortest and its longest length."""
        line = self.line(currency)
        return line[0][0], line[-1][0]

    def loss_at(self, cost: float, currency: Currency) -> float | None:
        """The loss on its line; None beyond its ends."""
        line = self.line(currency)
        (first, first_loss), (last, last_loss) = line[0], line[-1]
        if (exact := dict(line).get(cost)) is not None:
            return exact
        if first * (1 - NEAR) <= cost <= first:
            return first_loss
        if last <= cost <= last * (1 + NEAR):
            return last_loss
        for (low, before), (high, after) in pairwise(line):
            if low <= cost <= high:
                return before + (after - before) * log(cost / low) / log(high / low)
        return None

    def lengths_around(self, cost: float, currency: Currency) -> set[int]:
        """The steps of the longest length that costs no more, and of the shortest that costs no less."""
        at = {point.steps: getattr(point.cost, currency) for point in self.points}
        shorter = [steps for steps, spent in at.items() if spent <= cost * (1 + NEAR)]
        longer = [steps for steps, spent in at.items() if spent >= cost * (1 - NEAR)]
        return {*sorted(shorter)[-1:], *sorted(longer)[:1]}

    def cost_of(self, loss: float, currency: Currency) -> float | None:
        """The least cost at which its line is at or below a loss; None if it never is."""
        line = self.line(currency)
        if line[0][1] <= loss:
            return line[0][0]
        for (low, before), (high, after) in pairwise(line):
            if after <= loss:
                return exp(log(low) + log(high / low) * (before - loss) / (before - after))
        return None


@dataclass(frozen=True)
class Frontier:
    """The lowest of the lines of fixed models, at every cost to which one of them comes."""

    models: tuple[FixedModel, ...]

    @classmethod
    def of(cls, runs: Sequence[RunHistory]) -> Self:
        """That of runs whose losses can be compared (`groups.check_comparable`), in any order.

        Runs that differ in the seed alone are one point. Points that differ in how long they trained are one model.

        Raises:
            UserError: there is no run, one is none of a fixed model that has trained to its end (`check_fixed`), or
                two have the same recipe and seed.
        """
        if not runs:
            raise UserError("--frontier: names no run; give the folders of finished runs of scratch")
        for run in runs:
            check_fixed(run)
        points = sorted((FixedPoint.of(group) for group in group_runs(runs)), key=_model_of)
        lines = [tuple(sorted(same, key=_place)) for _, same in groupby(points, key=_model_of)]
        models = map(FixedModel, _names([line[0] for line in lines]), lines)
        return cls(tuple(sorted(models, key=lambda model: (_layers(model.points[0]), model.name))))

    @property
    def runs(self) -> list[RunHistory]:
        """All of them."""
        return [run for model in self.models for point in model.points for run in point.group.runs]

    @property
    def lowest(self) -> float:
        """The lowest loss."""
        return min(point.loss for model in self.models for point in model.points)

    def of_seed(self, seed: int) -> Self:
        """That of the runs with one seed; without any, it comes to no cost."""
        return replace(self, models=tuple(_with_seed(self.models, seed)))

    def best_at(self, cost: float, currency: Currency = "flops") -> FixedModel | None:
        """The model whose line is lowest at a cost; None where none comes to it."""
        losses = [(loss, model) for model in self.models if (loss := model.loss_at(cost, currency)) is not None]
        return min(losses, key=lambda found: found[0])[1] if losses else None

    def loss_at(self, cost: float, currency: Currency = "flops") -> float | None:
        """The lowest loss of a fixed model at a cost, in nats per token; None where no line comes to it."""
        best = self.best_at(cost, currency)
        return best.loss_at(cost, currency) if best else None

    def cost_of(self, loss: float, currency: Currency = "flops") -> float | None:
        """The least cost at which a fixed model comes to a loss; None outside of the frontier's own losses.

        Those end with its lowest, and begin with the loss at its least cost: what a higher one takes is not known.
        """
        costs = [cost for model in self.models if (cost := model.cost_of(loss, currency)) is not None]
        if not costs:
            return None
        begins = self.loss_at(self.spans(currency)[0][0], currency)
        return min(costs) if begins is not None and loss <= begins else None

    def is_dominated_at(self, cost: float, currency: Currency = "flops") -> bool:
        """Whether a fixed model came lower than the frontier at a cost, for less, so that its line ends too early."""
        there = self.loss_at(cost, currency)
        points = (point for model in self.models for point in model.line(currency))
        return there is not None and any(spent < cost and loss < there for spent, loss in points)

    def holds_to(self, cost: float, currency: Currency = "flops") -> float | None:
        """The cost to which the best models from a cost on were trained; None where no line comes to that one.

        It is the end of the line that is lowest there, or of one that is lower at that end, and so on; the cost itself
        where a better line has ended before. What worse models come to for more says nothing of the best ones.
        """
        best = self.best_at(cost, currency)
        if best is None:
            return None
        if self.is_dominated_at(cost, currency):
            return cost
        while (other := self.best_at(_end(best, currency), currency)) and _end(other, currency) > _end(best, currency):
            best = other
        return _end(best, currency)

    def spans(self, currency: Currency = "flops") -> list[tuple[float, float]]:
        """The costs to which lines come: from the least to the most, with what lies between two of them left out."""
        found: list[tuple[float, float]] = []
        for low, high in sorted(model.span(currency) for model in self.models):
            if found and low <= found[-1][1]:
                low, high = found[-1][0], max(high, found.pop()[1])  # noqa: PLW2901
            found.append((low, high))
        return found


def _with_seed(models: Iterable[FixedModel], seed: int) -> Iterable[FixedModel]:
    for model in models:
        points = tuple(own for point in model.points if (own := point.of_seed(seed)))
        if points:
            yield replace(model, points=points)


def _end(model: FixedModel, currency: Currency) -> float:
    return model.span(currency)[1]


def _place(point: FixedPoint) -> tuple[float, float]:
    return point.cost.flops, point.loss


def _layers(point: FixedPoint) -> int:
    return point.group.runs[0].recipe["model"]["num_layers"]


def _recipe(point: FixedPoint) -> dict[str, Any]:
    """What tells a model and its training from another, at whatever length."""
    run = point.group.runs[0]
    left_out = _OF_LENGTH | Recipe.may_change()
    return {key: run.recipe[key] for key in sorted(run.recipe.keys() - left_out)} | {"lr_schedule": policy_of(run)}


def _model_of(point: FixedPoint) -> str:
    return json.dumps(_recipe(point), sort_keys=True)


def _names(points: Sequence[FixedPoint]) -> list[str]:
    """`6 layers`, or `6 layers, hidden_size=64` where the width tells it from another of six."""
    flats = [flat_values(_recipe(point)) for point in points]
    names = []
    for point, flat in zip(points, flats, strict=True):
        told = [
            f"{key.removeprefix('model.')}={flat[key]}"
            for key in differing_keys(flats)
            if key in flat and key != "model.num_layers"
        ]
        names.append(", ".join([counted(_layers(point), "layer"), *told]))
    return names
