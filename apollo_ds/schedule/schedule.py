"""The schedule of a run. It gives the plan of a step as a pure function of the step's number."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise

from apollo_ds.errors import UserError
from apollo_ds.models.layer_map import LayerMap
from apollo_ds.schedule.depth import draw_depth
from apollo_ds.schedule.growable import check_scales
from apollo_ds.schedule.learning_rate import LearningRate
from apollo_ds.schedule.rise import Births, births_of, parts_risen
from apollo_ds.schedule.source import BranchPoint, Source
from apollo_ds.schedule.stage import Stage


@dataclass(frozen=True)
class StepPlan:
    """Everything that the schedule decides about one step, or about one micro-batch of it."""

    step: int
    stage: int
    layer_map: LayerMap
    """The unique layers that run, in order."""
    scales: tuple[float, ...]
    """The factor of each of these layers' outputs; empty if all are 1."""
    positions: tuple[int, ...]
    """The position in the network of each of these layers, if some are skipped; empty if none are."""
    drawn_depth: int
    """The number of positions of the network, including those that are skipped."""
    risen: tuple[float, ...]
    """How far the branches of each of these layers have risen, from 0 to 1; empty if all are 1. See `rise`."""
    first_trained: int
    """Positions of `layer_map` below this one, and the embeddings if it is not 0, run without autograd."""
    seq_len: int
    learning_rate: float
    new_learning_rate: float | None
    """The learning rate of the coordinates that the last growth added; None if it is `learning_rate`."""
    first_token: int
    """Tokens of the data stream consumed before this step."""

    @property
    def depth(self) -> int:
        """Number of layers that run."""
        return len(self.layer_map)


@dataclass(frozen=True)
class _RatePosition:
    """Where a stage lies on a learning-rate curve: step t of the run is step t - `origin` of `total`."""

    origin: int
    total: int


@dataclass(frozen=True)
class Schedule:
    """The stages of a run, in order, and the plan of each step. It is immutable: an early end makes a new schedule.

    Raises:
        UserError: a stage has no steps, the layer counts decrease, or a scale is not for the model's family.
    """

    stages: tuple[Stage, ...]
    global_batch_size: int
    learning_rate: LearningRate
    seed: int

    def __post_init__(self) -> None:
        for number, stage in enumerate(self.stages):
            if stage.steps < 1 and stage.source is None:
                raise UserError(
                    f"method: stage {number + 1} of {len(self.stages)} has no steps; raise `steps`, or change "
                    "when the model grows"
                )
        counts = [stage.unique_layers for stage in self.stages]
        if any(after < before for before, after in pairwise(counts)):
            raise UserError(f"method: layer counts must increase from stage to stage, not {counts}")
        check_scales(self.stages)

    @cached_property
    def first_steps(self) -> tuple[int, ...]:
        """The step that each stage begins with."""
        return tuple(accumulate((stage.steps for stage in self.stages[:-1]), initial=0))

    @cached_property
    def _rates(self) -> list[_RatePosition]:
        return _rate_positions(self.stages)

    @cached_property
    def _births(self) -> list[Births]:
        return births_of(self.stages)

    @property
    def source(self) -> Source | BranchPoint | None:
        """The source that has trained the first stage; None if this run trains it."""
        return self.stages[0].source

    @property
    def begins_at(self) -> int:
        """The first step that this run takes: 0, or the step at which it branches from another run."""
        return self.stages[0].steps if self.source else 0

    def rate_origin(self, number: int) -> int:
        """The step with which the learning-rate curve of a stage begins."""
        return self._rates[number].origin

    @property
    def warmup(self) -> tuple[int, int]:
        """The number of steps of the first warm-up, and of the learning-rate curve that it belongs to."""
        total = self._rates[self.stage_number(self.begins_at)].total
        return round(self.learning_rate.warmup_fraction * total), total

    @property
    def decays_from(self) -> int | None:
        """The first step of the last decay: there a `wsd` schedule's learning rate falls below its peak.

        None for other schedules, which have no such step, and if the last curve never decays.
        """
        return self.learning_rate.decays_from(self._rates[-1].origin, self._rates[-1].total)

    @property
    def total_steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def stage_steps(self) -> list[int]:
        """Steps of each stage: with the recipe, all that is needed to know the schedule again."""
        return [stage.steps for stage in self.stages]

    def with_stage_steps(self, steps: Sequence[int]) -> "Schedule":
        """The schedule of a run whose stages have these lengths."""
        return replace(self, stages=tuple(replace(s, steps=n) for s, n in zip(self.stages, steps, strict=True)))

    def ended_at(self, step: int) -> "Schedule":
        """The schedule in which the stage that contains step `step` - 1 ends right after that step.

        Its unused steps go to the last stage.
        """
        number = self.stage_number(step - 1)
        steps = self.stage_steps
        unused = self.first_steps[number] + steps[number] - step
        steps[number] -= unused
        steps[-1] += unused
        return self.with_stage_steps(steps)

    def stage_number(self, step: int) -> int:
        """Index of the stage that a step belongs to."""
        return bisect_right(self.first_steps, step) - 1

    def at(self, step: int, micro_step: int = 0) -> StepPlan:
        """Return the plan of a step; `micro_step` matters only in a stage that draws a depth for each micro-batch."""
        number = self.stage_number(step)
        stage = self.stages[number]
        counters = (step, micro_step) if stage.draw == "micro_step" else (step,)
        depth = draw_depth(stage.depth_distribution, stage.first_depth, self.seed, *counters)
        layer_map = stage.map_to(depth)
        scales: tuple[float, ...] = ()
        positions: tuple[int, ...] = ()
        risen = self.risen(number, step + 1, depth)
        if stage.layer_drop:
            gates = stage.layer_drop.gates(depth, step / self.total_steps, self.seed, step)
            positions = tuple(position for position, _ in gates)
            layer_map = tuple(layer_map[position] for position in positions)
            scales = tuple(scale for _, scale in gates)
            risen = tuple(risen[position] for position in positions) if risen else ()
        learning_rate, new_learning_rate = self._learning_rates(number, step)
        return StepPlan(
            step=step,
            stage=number,
            layer_map=layer_map,
            scales=scales,
            positions=positions,
            drawn_depth=depth,
            risen=risen,
            first_trained=stage.first_trained(depth),
            seq_len=stage.seq_len,
            learning_rate=learning_rate,
            new_learning_rate=new_learning_rate,
            first_token=self._tokens_before(step),
        )

    def _learning_rates(self, number: int, step: int) -> tuple[float, float | None]:
        """Return the learning rate of a step of a stage, and that of new coordinates or None; see `StepPlan`."""
        scale, curve = self.stages[number].learning_rate_scale, self._rates[number]
        place = step - curve.origin
        rate = scale * self.learning_rate.at(place, curve.total)
        growth = self.last_growth(number)
        if growth == 0:
            return rate, None
        rule, since = self.stages[growth].growth, self.first_steps[growth]
        steps = step - since + 1
        if rule.rewarm == "none" or (steps >= rule.rewarm_steps and rule.rewarm_to == 1):
            return rate, None
        other = scale * self.learning_rate.part_at(rule.rewarmed(steps), place, since - curve.origin, curve.total)
        return (other, None) if rule.rewarm == "all" else (rate, other)

    def last_growth(self, number: int) -> int:
        """Return the last stage up to `number` at which the model grew, or at which a warm-up of its own began."""
        while number and self.stages[number].growth.rewarm == "none":
            if not self.stages[number].continues(self.stages[number - 1]):
                break
            number -= 1
        return number

    def risen(self, number: int, steps: int, depth: int) -> tuple[float, ...]:
        """Return how far the branches of each position of a stage's network have risen after so many steps of the run.

        The values are from 0 to 1; the result is empty if all are 1.
        """
        if not self.rises(number):
            return ()
        layer_map = self.stages[number].map_to(depth)
        return parts_risen(layer_map, self._births[number], self.stages, self.first_steps, steps)

    def rises(self, number: int) -> bool:
        """Whether branches may rise in a stage: those of its own layers, or of layers of an earlier stage."""
        return any(stage.rise_steps for stage in self.stages[: number + 1])

    def _tokens_before(self, step: int) -> int:
        number = self.stage_number(step)
        finished = sum(stage.steps * stage.seq_len for stage in self.stages[:number])
        return self.global_batch_size * (finished + (step - self.first_steps[number]) * self.stages[number].seq_len)

    def expected_depth(self, number: int) -> float:
        """Mean number of layers that a step of a stage runs."""
        return sum(chance * self.executed(number, depth) for depth, chance in self.stages[number].depths())

    def executed(self, number: int, depth: int) -> float:
        """Mean number of layers that run in a step of a stage if this depth has been drawn."""
        stage, first, total = self.stages[number], self.first_steps[number], self.total_steps
        if stage.layer_drop is None:
            return depth
        return stage.layer_drop.expected_depth(depth, first / total, (first + stage.steps) / total)


def _rate_positions(stages: Sequence[Stage]) -> list[_RatePosition]:
    """Return the place of each stage on its learning-rate curve.

    A stage that restarts the learning rate begins a new curve, which ends where the next one begins. A stage that
    rewinds it by c goes back to 1/c of the steps taken: with c = 2 after 100 steps it continues at step 50, and the
    curve is 50 steps shorter.
    """
    positions: list[_RatePosition] = []
    first = 0
    for number, stage in enumerate(stages):
        if number == 0 or stage.restarts_learning_rate:
            course, origin = number, first if number else stage.learning_rate_origin
        elif stage.learning_rate_rewind != 1.0:
            reached = first - origin
            origin += reached - round(reached / stage.learning_rate_rewind)
        positions.append(_RatePosition(origin, 0))
        first += stage.steps
        is_last_of_course = number + 1 == len(stages) or stages[number + 1].restarts_learning_rate
        if is_last_of_course:
            ended = [replace(position, total=first - origin) for position in positions[course:]]
            positions[course:] = ended
    return positions
