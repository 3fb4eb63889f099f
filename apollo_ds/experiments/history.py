"""Read the history of a run from its folder."""

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
    """What training has cost so far."""

    flops: float
    tokens: float
    seconds: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.tokens + other.tokens, self.seconds + other.seconds)

    def part_of_way(self, to: "Cost", part: float) -> "Cost":
        """The cost at a fraction `part`, from 0 to 1, of the way from this cost to another."""
        ways = ((getattr(self, key), getattr(to, key)) for key in ("flops", "tokens", "seconds"))
        return Cost(*(start + part * (end - start) for start, end in ways))


@dataclass(frozen=True)
class Evaluation:
    """The held-out loss at a step, and the cost until then."""

    step: int
    cost: Cost
    loss: float
    """The loss in nats per token. It is infinite if it was recorded as not finite."""


class NotYetEvaluated(UserError):
    """The run has no held-out loss yet, so that it cannot be compared."""


Curve = Sequence[Evaluation]
"""The evaluations of a run, in order."""


@dataclass(frozen=True)
class RunHistory:
    """A run's recipe, and its recorded events by kind."""

    folder: Path
    config: dict[str, Any]
    """The content of config.yaml."""
    steps: list[Event]
    evals: list[Event]
    growths: list[Event]
    rollbacks: list[Event]
    """The points at which training went wrong and went back. The cost that was lost is in no other event."""
    start: Event
    """The record of the run's source from its beginning, and of its last branching off. Empty if it has none."""
    finished: bool
    branches: list[Event] = field(default_factory=list)
    """The points at which the run goes on from other runs, the first one first. Its record begins with theirs."""
    samples: Event = field(default_factory=dict)
    """The texts that the model wrote last, under `samples`, and the step. Empty if the run took no samples."""

    @classmethod
    def read(cls, folder: Path) -> "RunHistory":
        """Read the folder of a run.

        Raises:
            UserError: it is not the folder of a run, or it is damaged.
            NotYetEvaluated: the run has no held-out loss yet.
        """
        if not (folder / "metrics.jsonl").is_file():
            raise UserError(not_a_run(folder, "metrics.jsonl"))
        _check_recorded(folder)
        events = _stages_counted_on(read_history(folder / "metrics.jsonl"))
        kinds = ("step", "eval", "growth")
        steps, evals, growths = ([e for e in events if e["event"] == kind] for kind in kinds)
        # Earlier versions called a rollback "detour".
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
        """The resolved recipe, with all defaults."""
        return self.config["recipe"]

    @property
    def seed(self) -> int:
        """The seed of the recipe."""
        return self.recipe["seed"]

    @property
    def state(self) -> str:
        """`finished`, or how far the run has come."""
        if self.finished:
            return "finished"
        return f"unfinished (step {self.steps[-1]['step']:,} of {self.recipe['steps']:,})"

    @property
    def source(self) -> Cost | None:
        """The cost of the model that the run started from. None if there is none, or if its cost is not known."""
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
        """The cost of the run after `step` steps. After 0 steps it is zero."""
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
    """Renumber the stages of branches. The numbers of a branch go on from those of the run before it."""
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
    """The keys that are read of a model's shape. It may have more."""

    model_config = ConfigDict(strict=True)

    num_layers: PositiveInt


class _Method(BaseModel):
    """The keys that are read of a method. It may have more."""

    model_config = ConfigDict(strict=True)

    name: str


class _Recipe(BaseModel):
    """The keys that are read of a recipe. It may have more."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    model: _Model
    method: _Method
    data: str | dict[str, float]
    steps: PositiveInt
    seed: int
    learning_rate: float


def _check_recorded(folder: Path) -> None:
    """Compare the metrics with the hash in the newest checkpoint, if there is one."""
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
    """A loss from its record. A loss that was not finite is recorded as None, and becomes infinite."""
    return inf if recorded is None else recorded


def cost_to_reach(curve: Curve, loss: float) -> Cost | None:
    """The cost to reach a held-out loss. None if no evaluation is at or below it.

    The loss is reached between the first evaluation at or below it and the one before, at the point where a straight
    line between their losses meets it. FLOPs, tokens and seconds are interpolated to this point. If the run's first
    evaluation is at or below the loss, it is the cost of that evaluation.
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
    """The held-out loss after `flops` FLOPs, on a straight line between the evaluations before and after.

    None before the first evaluation and after the last one.
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
