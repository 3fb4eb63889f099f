"""Stages, and the schedule they form: what a step runs, as a pure function of its number."""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

from apollo_ds.cost import training_flops
from apollo_ds.depth import DepthDistribution, draw_depth, expected_depth
from apollo_ds.errors import UserError
from apollo_ds.layer_map import LAYER_MAPS, LayerMap
from apollo_ds.learning_rate import LearningRate
from apollo_ds.model_shape import ModelShape

MomentRule = Literal["map", "map_scaled", "zero_new", "reset", "keep_index"]
NewLayers = Literal["copy", "zero", "identity", "random"]
WidthRule = Literal["tiled", "net2net", "aki"]
Rewarm = Literal["none", "all", "new"]


@dataclass(frozen=True)
class GrowthRule:
    """How a stage's model is made from the one before it; `growth` explains the choices."""

    layer_map: str = "interpolate"
    new_layers: NewLayers = "copy"
    width: WidthRule = "tiled"
    moments: MomentRule = "map"
    rewarm: Rewarm = "none"
    """Whose learning rate rises again from zero after the growth: everything's, or that of the new coordinates."""
    rewarm_steps: int = 0


@dataclass(frozen=True)
class Stage:
    """A part of the run during which the set of parameters does not change."""

    method: str
    steps: int
    shape: ModelShape
    unique_layers: int
    seq_len: int
    depth_distribution: DepthDistribution
    layer_map: str
    """Name of the map that places the unique layers at the positions of a deeper network."""
    growth: GrowthRule = GrowthRule()

    @property
    def evaluation_depth(self) -> int:
        """The greatest depth that the stage trains, at which it is evaluated."""
        trained = [i for i, probability in enumerate(self.depth_distribution) if probability > 0]
        return self.unique_layers + trained[-1]

    @property
    def expected_depth(self) -> float:
        """Mean number of layers a step runs."""
        return expected_depth(self.depth_distribution, self.unique_layers)

    def map_to(self, depth: int) -> LayerMap:
        """Which unique layer runs at each of `depth` positions."""
        return LAYER_MAPS[self.layer_map](self.unique_layers, depth)


@dataclass(frozen=True)
class StepPlan:
    """Everything that the schedule decides about one step."""

    step: int
    stage: int
    depth: int
    layer_map: LayerMap
    seq_len: int
    learning_rate: float
    new_learning_rate: float
    """The learning rate of what the last growth added."""
    first_token: int
    """Tokens of the data stream consumed before this step."""


class Schedule:
    """The stages of a run, in order, and what each step does.

    Raises:
        UserError: a stage has no steps, or the layer counts do not increase.
    """

    def __init__(self, stages: list[Stage], global_batch_size: int, learning_rate: LearningRate, seed: int) -> None:
        for number, stage in enumerate(stages):
            if stage.steps < 1:
                raise UserError(f"method: stage {number + 1} of {len(stages)} has no steps; raise `steps`")
        counts = [stage.unique_layers for stage in stages]
        if any(after < before for before, after in pairwise(counts)):
            raise UserError(f"method: layer counts must increase from stage to stage, not {counts}")
        self.stages = stages
        self.global_batch_size = global_batch_size
        self.learning_rate = learning_rate
        self.seed = seed

    @cached_property
    def first_steps(self) -> list[int]:
        """The first step of each stage."""
        return [sum(stage.steps for stage in self.stages[:number]) for number in range(len(self.stages))]

    @property
    def total_steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_number(self, step: int) -> int:
        """Index of the stage that a step belongs to."""
        return bisect_right(self.first_steps, step) - 1

    def at(self, step: int) -> StepPlan:
        """What a step does."""
        number = self.stage_number(step)
        stage = self.stages[number]
        depth = draw_depth(stage.depth_distribution, stage.unique_layers, self.seed, step)
        learning_rate, rewarmed = self.learning_rate.at(step), self._rewarmed(number, step)
        return StepPlan(
            step=step,
            stage=number,
            depth=depth,
            layer_map=stage.map_to(depth),
            seq_len=stage.seq_len,
            learning_rate=learning_rate * (rewarmed if stage.growth.rewarm == "all" else 1.0),
            new_learning_rate=learning_rate * rewarmed,
            first_token=self._tokens_before(step),
        )

    def _rewarmed(self, number: int, step: int) -> float:
        """How far the warm-up after a stage's growth has come, from just above 0 to 1."""
        rule = self.stages[number].growth
        if number == 0 or rule.rewarm == "none":
            return 1.0
        return min(1.0, (step - self.first_steps[number] + 1) / max(1, rule.rewarm_steps))

    def _tokens_before(self, step: int) -> int:
        number = self.stage_number(step)
        finished = sum(stage.steps * stage.seq_len for stage in self.stages[:number])
        return self.global_batch_size * (finished + (step - self.first_steps[number]) * self.stages[number].seq_len)

    def flops(self, plan: StepPlan) -> float:
        """Operations of one step."""
        return training_flops(self.stages[plan.stage].shape, plan.depth, plan.seq_len, self.global_batch_size)

    def expected_flops_per_step(self, stage: Stage) -> float:
        """Mean operations a step of a stage."""
        return training_flops(stage.shape, stage.expected_depth, stage.seq_len, self.global_batch_size)
