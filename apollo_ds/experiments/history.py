"""What a run recorded, read from its folder alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import inf, isfinite
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from apollo_ds.checkpoint.find import checkpoints_in
from apollo_ds.checkpoint.manifest import DamagedCheckpoint, read_manifest, step_of
from apollo_ds.config.not_a_run import not_a_run
from apollo_ds.config.recorded import read_recorded
from apollo_ds.errors import UserError
from apollo_ds.experiments.events import Event, is_as_recorded, read_history


@dataclass(frozen=True)
class Cost:
    """What training has used up so far."""

    flops: float
    tokens: float
    seconds: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.tokens + other.tokens, self.seconds + other.seconds)

    def part_of_way(self, to: "Cost", part: float) -> "Cost":
        """The cost at a part of the way, 0 to 1, from this one to another."""
        ways = ((getattr(self, key), getattr(to, key)) for key in ("flops", "tokens", "seconds"))
        return Cost(*(start + part * (end - start) for start, end in ways))


@dataclass(frozen=True)
class Evaluation:
    """The held-out loss at a step, and what had been spent by then."""

    step: int
    cost: Cost
    loss: float
    """In nats per token; infinite where it was not a finite number."""


class NotYetEvaluated(UserError):
    """A run that has no held-out loss to compare yet."""


Curve = Sequence[Evaluation]
"""A run's evaluations in order."""


@dataclass(frozen=True)
class RunHistory:
    """A run's recipe and its recorded events by kind."""

    folder: Path
    config: dict[str, Any]
    """All of config.yaml."""
    steps: list[Event]
    evals: list[Event]
    growths: list[Event]
    rollbacks: list[Event]
    """Where training went wrong and went back; what it had spent since then is in no other event."""
    start: Event
    """What the run recorded when it began, and where it last branched off; empty where it did not."""
    finished: bool
    branches: list[Event] = field(default_factory=list)
    """Where it goes on from other runs, the first one first. Its record begins with theirs."""
    samples: Event = field(default_factory=dict)
    """What its model wrote last, under `samples`, and at which step; empty where it was not asked to."""

    @classmethod
    def read(cls, folder: Path) -> "RunHistory":
        """Read a run folder.

        Raises:
            UserError: it is not one, or is damaged.
            NotYetEvaluated: it holds no held-out loss yet.
        """
        if not (folder / "metrics.jsonl").is_file():
            raise UserError(not_a_run(folder, "metrics.jsonl"))
        _check_recorded(folder)
        events = _stages_counted_on(read_history(folder / "metrics.jsonl"))
        kinds = ("step", "eval", "growth")
        steps, evals, growths = ([e for e in events if e["event"] == kind] for kind in kinds)
        # "detour" is what earlier versions called it.
        rollbacks = [e for e in events if e["event"] in ("rollback", "detour")]
        if not evals:
            raise NotYetEvaluated(f"{folder}/metrics.jsonl: no held-out loss is recorded yet")
        branches = [e for e in events if e["event"] == "branch"]
        start = next((e for e in events if e["event"] == "start"), {}) | (branches[-1] if branches else {})
        finished = any(e["event"] == "end" for e in events)
        config = _read_config(folder / "config.yaml")
        samples = next((e for e in reversed(events) if e["event"] == "samples"), {})
        return cls(folder, config, steps, evals, growths, rollbacks, start, finished, branches, samples)

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe as resolved."""
        return self.config["recipe"]

    @property
    def seed(self) -> int:
        """The recipe's seed."""
        return self.recipe["seed"]

    @property
    def state(self) -> str:
        """`finished`, or how far it has come."""
        if self.finished:
            return "finished"
        return f"unfinished (step {self.steps[-1]['step']:,} of {self.recipe['steps']:,})"

    @property
    def source(self) -> Cost | None:
        """What had been spent on the model that the run started from; None where it started from none, or from one
        whose cost nobody knows.
        """
        if not {"source", "source_flops"} <= self.start.keys():
            return None
        return Cost(*(self.start.get(f"source_{key}", 0) for key in ("flops", "tokens", "seconds")))

    @cached_property
    def curve(self) -> Curve:
        """The evaluations, in order."""
        return [Evaluation(e["step"], self._cost_of(e), recorded_loss(e["loss"])) for e in self.evals]

    @property
    def final(self) -> Evaluation:
        """The last evaluation."""
        return self.curve[-1]

    @property
    def best_loss(self) -> float:
        """The lowest held-out loss."""
        return min(point.loss for point in self.curve)

    def cost_at(self, step: int) -> Cost:
        """What the run had used up after so many steps; after none, nothing."""
        if step == 0:
            return Cost(0.0, 0, 0.0)
        event = self._steps_by_number[step]
        return Cost(event["flops"], event["tokens"], event["seconds"])

    def _cost_of(self, evaluation: Event) -> Cost:
        tokens = self.cost_at(evaluation["step"]).tokens
        return Cost(evaluation["flops"], tokens, evaluation["seconds"])

    @cached_property
    def _steps_by_number(self) -> dict[int, Event]:
        return {event["step"]: event for event in self.steps}


def _stages_counted_on(events: list[Event]) -> list[Event]:
    """The events with the stages of a branch counted on from those of the run before it, which are its first stage."""
    ended = last = 0
    counted = []
    for event in events:
        if event["event"] == "branch":
            ended = last
        elif event["event"] == "step" and ended:
            event = {**event, "stage": event["stage"] + ended}  # noqa: PLW2901
        last = event["stage"] if event["event"] == "step" else last
        counted.append(event)
    return counted


class _Model(BaseModel):
    """What is read of a model's shape; it may hold more."""

    model_config = ConfigDict(strict=True)

    num_layers: PositiveInt


class _Method(BaseModel):
    """The same of a method."""

    model_config = ConfigDict(strict=True)

    name: str


class _Recipe(BaseModel):
    """The same of a recipe."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    model: _Model
    method: _Method
    data: str | dict[str, float]
    steps: PositiveInt
    seed: int
    learning_rate: float


def _check_recorded(folder: Path) -> None:
    """Compare the metrics with what the newest checkpoint says of them, where there is one."""
    for checkpoint in checkpoints_in(folder / "checkpoints"):
        try:
            manifest = read_manifest(checkpoint)
        except DamagedCheckpoint:
            continue
        path = folder / "metrics.jsonl"
        if not is_as_recorded(path, manifest.metrics_bytes, manifest.metrics_hash):
            raise UserError(f"{path}: differs from what the run had recorded at step {step_of(checkpoint)}; restore it")
        return


def _read_config(path: Path) -> dict[str, Any]:
    recorded = read_recorded(path)
    try:
        _Recipe.model_validate(recorded.recipe)
    except ValidationError:
        raise UserError(f"{path}: damaged; its recipe is none of a run") from None
    return recorded.model_dump(exclude_none=True)


def recorded_loss(recorded: float | None) -> float:
    """A loss as it was recorded; infinite for None, which stands for what was not a finite number."""
    return inf if recorded is None else recorded


def cost_to_reach(curve: Curve, loss: float) -> Cost | None:
    """What it took to reach a held-out loss; None if no evaluation is at or below it.

    It is reached between the first evaluation at or below it and the one before, where a straight line between their
    losses meets it; FLOPs, tokens and seconds are taken at the same part of the way. If the first evaluation of all
    is at or below it, that one's cost is the answer.
    """
    number = next((i for i, point in enumerate(curve) if point.loss <= loss), None)
    if number is None:
        return None
    point = curve[number]
    if number == 0 or not isfinite(curve[number - 1].loss):
        return point.cost
    before = curve[number - 1]
    return before.cost.part_of_way(point.cost, (before.loss - loss) / (before.loss - point.loss))


def loss_at(curve: Curve, flops: float) -> float | None:
    """The held-out loss after so many FLOPs, on a straight line between the evaluations before and after.

    None before the first evaluation and after the last.
    """
    if flops == curve[-1].cost.flops:
        return curve[-1].loss
    for before, after in pairwise(curve):
        if before.cost.flops <= flops < after.cost.flops:
            if not (isfinite(before.loss) and isfinite(after.loss)):
                return inf
            part = (flops - before.cost.flops) / (after.cost.flops - before.cost.flops)
            return before.loss + part * (after.loss - before.loss)
    return None
