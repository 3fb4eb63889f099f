"""The frontier: at each cost the lowest loss that any fixed model, trained to its end, reaches."""

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
"""A length also stands for costs that differ from its own by at most this fraction."""
_OF_LENGTH = {"steps", "warmup_fraction", "decay_fraction", "branch_from", "init_from", "seed"}
"""Keys that say how long a model trains, or from where. Together with keys that may change on resume, they do not tell
models apart."""


@dataclass(frozen=True)
class FixedPoint:
    """One length of a fixed model, with the means over its seeds."""

    group: Group
    loss: float
    """The final held-out loss, in nats per token."""
    cost: Cost

    @classmethod
    def of(cls, group: Group) -> Self:
        """The point of the finished runs of one recipe."""
        finals = [run.final for run in group.runs]
        return cls(group, fmean(final.loss for final in finals), mean_cost([final.cost for final in finals]))

    @property
    def steps(self) -> int:
        """The number of steps of the length."""
        return self.group.runs[0].recipe["steps"]

    def of_seed(self, seed: int) -> Self | None:
        """The point of one seed. None if it has no run."""
        runs = tuple(run for run in self.group.runs if run.seed == seed)
        return type(self).of(replace(self.group, runs=runs)) if runs else None


@dataclass(frozen=True)
class FixedModel:
    """A model at its lengths. Its line is the loss over the logarithm of the cost, straight between two lengths.

    The line ends at its shortest and its longest length. Up to `NEAR` beyond an end, the loss of the end holds.
    """

    name: str
    points: tuple[FixedPoint, ...]

    def line(self, currency: Currency) -> list[tuple[float, float]]:
        """Pairs of cost and loss, by rising cost. Of points with the same steps or the same cost, it has the lowest."""
        falling = sorted(self.points, key=lambda point: -point.loss)
        by_steps = {point.steps: point for point in falling}
        by_cost = {getattr(point.cost, currency): point.loss for point in falling if by_steps[point.steps] is point}
        return sorted(by_cost.items())

    def span(self, currency: Currency) -> tuple[float, float]:
        """The costs of the shortest and the longest length."""
        line = self.line(currency)
        return line[0][0], line[-1][0]

    def loss_at(self, cost: float, currency: Currency) -> float | None:
        """The loss on the line at a cost. None beyond the line's ends."""
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
        """The steps of the two lengths around a cost: the longest up to it, and the shortest from it on."""
        at = {point.steps: getattr(point.cost, currency) for point in self.points}
        shorter = [steps for steps, spent in at.items() if spent <= cost * (1 + NEAR)]
        longer = [steps for steps, spent in at.items() if spent >= cost * (1 - NEAR)]
        return {*sorted(shorter)[-1:], *sorted(longer)[:1]}

    def cost_of(self, loss: float, currency: Currency) -> float | None:
        """The least cost at which the line is at or below a loss. None if it never is."""
        line = self.line(currency)
        if line[0][1] <= loss:
            return line[0][0]
        for (low, before), (high, after) in pairwise(line):
            if after <= loss:
                return exp(log(low) + log(high / low) * (before - loss) / (before - after))
        return None


@dataclass(frozen=True)
class Frontier:
    """The lowest line of any fixed model, at every cost that a line reaches."""

    models: tuple[FixedModel, ...]

    @classmethod
    def of(cls, runs: Sequence[RunHistory]) -> Self:
        """The frontier of runs, in any order. Their losses must be comparable (`comparable.check_comparable`).

        Runs that differ only in the seed are one point. Points that differ only in how long they trained are one model.

        Raises:
            UserError: there is no run, a run is not of a fixed model that was trained to its end (`check_fixed`), or
                two runs have the same recipe and seed.
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
        """All runs of all fixed models."""
        return [run for model in self.models for point in model.points for run in point.group.runs]

    @property
    def lowest(self) -> float:
        """The lowest loss of any fixed model."""
        return min(point.loss for model in self.models for point in model.points)

    def of_seed(self, seed: int) -> Self:
        """The frontier of the runs with one seed. If there are none, it reaches no cost."""
        return replace(self, models=tuple(_with_seed(self.models, seed)))

    def best_at(self, cost: float, currency: Currency = "flops") -> FixedModel | None:
        """The model whose line is lowest at a cost. None if no line reaches the cost."""
        losses = [(loss, model) for model in self.models if (loss := model.loss_at(cost, currency)) is not None]
        return min(losses, key=lambda found: found[0])[1] if losses else None

    def loss_at(self, cost: float, currency: Currency = "flops") -> float | None:
        """The lowest loss of a fixed model at a cost, in nats per token. None if no line reaches the cost."""
        best = self.best_at(cost, currency)
        return best.loss_at(cost, currency) if best else None

    def cost_of(self, loss: float, currency: Currency = "flops") -> float | None:
        """The least cost at which a fixed model reaches a loss. None outside of the frontier's own losses.

        These go from its lowest loss to the loss at its least cost. The cost of a higher loss is not known.
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
        """The cost up to which the best models from a cost on were trained. None if no line reaches that cost.

        It is the end of the line that is lowest at the cost. If another line is lower at that end, it is the end of
        that line, and so on. If a better line ended before, it is the cost itself. Beyond it there are only worse
        models, which say nothing about the best ones.
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
        """The ranges of costs that lines reach, in order. Between two ranges are costs that no line reaches."""
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
    """The keys that tell a model and its training from others, without the length."""
    run = point.group.runs[0]
    left_out = _OF_LENGTH | Recipe.may_change()
    return {key: run.recipe[key] for key in sorted(run.recipe.keys() - left_out)} | {"lr_schedule": policy_of(run)}


def _model_of(point: FixedPoint) -> str:
    return json.dumps(_recipe(point), sort_keys=True)


def _names(points: Sequence[FixedPoint]) -> list[str]:
    """The names of models: `6 layers`, or `6 layers, hidden_size=64` if there is another model with 6 layers."""
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
