"""A stage: a part of a run during which the set of trained parameters does not change."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from apollo_ds.models.families import family_of
from apollo_ds.models.frozen import NOTHING_FROZEN, Frozen
from apollo_ds.models.layer_map import LayerMap, placed
from apollo_ds.models.shape import ModelShape
from apollo_ds.schedule.depth import DepthDistribution
from apollo_ds.schedule.layer_drop import LayerDrop
from apollo_ds.schedule.source import BranchPoint, Source
from apollo_ds.schedule.triggers import Trigger

MomentRule = Literal["map", "map_scaled", "zero_new", "reset", "keep_index"]
NewLayers = Literal["copy", "zero", "silent", "identity", "random"]
FRESH: tuple[NewLayers, ...] = ("random", "silent")
"""Kinds of new layers that begin as freshly initialised ones, and do not use old layers."""
WidthRule = Literal["tiled", "uneven", "net2net", "aki", "block_diagonal", "averaged"]
Rewarm = Literal["none", "all", "new"]


@dataclass(frozen=True)
class GrowthRule:
    """Says how a stage's model is made from that of the stage before; the package `growth` explains the choices."""

    layer_map: str = "interpolate"
    new_layers: NewLayers = "copy"
    width: WidthRule = "tiled"
    moments: MomentRule = "map"
    noise: float = 0.0
    """Standard deviation of the noise in the matrices of copied layers, in units of each matrix's own."""
    rewarm: Rewarm = "none"
    """Which parameters' learning rate warms up again after the growth: all, the new coordinates only, or none."""
    rewarm_steps: int = 0
    rewarm_from: float = 0.0
    """The fraction of the schedule's rate at which that warm-up begins."""
    rewarm_to: float = 1.0
    """The fraction at which it ends. It stays until the next growth; see `LearningRate.part_at`."""

    def rewarmed(self, steps: int) -> float:
        """Return the fraction of the schedule's rate after so many steps since the growth.

        It changes linearly: from 0 to 1 in 4 steps, it is 0.25 after one step and 1 after four.
        """
        if steps >= self.rewarm_steps:
            return self.rewarm_to
        return self.rewarm_from + (self.rewarm_to - self.rewarm_from) * steps / self.rewarm_steps


@dataclass(frozen=True)
class LearnedGrowth:
    """An operator that a stage learns. It makes the stage's model from a smaller one, whose weights stay fixed."""

    operator: str
    """Its name in `growth.learned`."""
    source: ModelShape
    source_layers: int


@dataclass(frozen=True)
class Stage:
    """What a stage trains and how."""

    method: str
    steps: int
    shape: ModelShape
    unique_layers: int
    seq_len: int
    pool: int = 1
    """How many neighbouring tokens the layers see as one; see `models.pooling`."""
    feed_forward_rank: int | None = None
    """The rank of the two factors that hold each feed-forward matrix; None for whole ones. See `models.low_rank`."""
    depth_distribution: DepthDistribution = (1.0,)
    """Probability of each depth from `first_depth` on."""
    shallowest: int | None = None
    """The first of these depths, if it is not the number of unique layers."""
    layer_map: str = "interpolate"
    """Name of the map that places the unique layers at the positions of a network of the drawn depth."""
    draw: Literal["step", "micro_step"] = "step"
    """Whether a depth is drawn for each step, or for each of its micro-batches."""
    growth: GrowthRule = GrowthRule()
    frozen: Frozen = NOTHING_FROZEN
    """What does not train in this stage."""
    trained_top: int | None = None
    """If set, a step trains only this many of the highest layers that it runs, and the head."""
    layer_drop: LayerDrop | None = None
    """Which blocks are skipped at random."""
    tied_gradients: Literal["sum", "mean"] = "sum"
    """Whether a layer that runs several times gets the sum of its gradients or their mean."""
    learned_growth: LearnedGrowth | None = None
    """The growth operator that the stage learns, in place of its model's weights."""
    rise_steps: int = 0
    """The number of steps over which the branches of new layers rise from 0, lower layers first; see `rise`."""
    learning_rate_scale: float = 1.0
    """A factor of the learning rate."""
    restarts_learning_rate: bool = False
    """Whether the learning-rate schedule starts again, warm-up included."""
    learning_rate_rewind: float = 1.0
    """A divisor of the place on the learning-rate curve: 2 goes back to half of the steps taken, 1 changes nothing."""
    learning_rate_origin: int = 0
    """For the first stage of a branch: the step at which the other run's learning-rate curve began."""
    source: Source | BranchPoint | None = None
    """The source that has trained this stage's model. The run takes none of these steps: it starts after them."""
    ends: Trigger | None = None
    """A rule that may end the stage before its steps are done."""

    @property
    def first_depth(self) -> int:
        """The least depth that can be drawn."""
        return self.unique_layers if self.shallowest is None else self.shallowest

    @property
    def pooled_len(self) -> int:
        """Tokens of a sample that the layers see."""
        return self.seq_len // self.pool

    def continues(self, before: "Stage") -> bool:
        """Whether this stage keeps the training state of the one before, so that the engine is not rebuilt."""
        same = ("shape", "unique_layers", "frozen", "tied_gradients", "learned_growth", "pool", "feed_forward_rank")
        kept = self.growth.moments in ("map", "map_scaled", "keep_index") and self.growth.rewarm != "new"
        return kept and all(getattr(self, name) == getattr(before, name) for name in same)

    def depths(self) -> Iterator[tuple[int, float]]:
        """Each depth that is drawn, with its probability."""
        for i, chance in enumerate(self.depth_distribution):
            if chance > 0:
                yield self.first_depth + i, chance

    @property
    def evaluation_depth(self) -> int:
        """The greatest depth that the stage trains; evaluation uses it."""
        return max(depth for depth, _ in self.depths())

    def map_to(self, depth: int) -> LayerMap:
        """Return the unique layer that runs at each of `depth` positions.

        Raises:
            UserError: the only layer is unlike the others and cannot be shared; see `models.layer_map.placed`.
        """
        return placed(self.layer_map, self.unique_layers, depth, family_of(self.shape).first_layer_is_unlike)

    def grown_from(self, before: "Stage") -> LayerMap:
        """Return, for each unique layer of this stage, the layer of the stage before that it is made from.

        Raises:
            UserError: the only layer is unlike the others and cannot be copied; see `models.layer_map.placed`.
        """
        first_stays = family_of(self.shape).first_layer_is_unlike
        return placed(self.growth.layer_map, before.unique_layers, self.unique_layers, first_stays)

    def first_trained(self, depth: int) -> int:
        """Return the lowest position that trains when `depth` layers run; 0 if the embeddings train, too."""
        if self.trained_top is not None:
            return depth - self.trained_top
        return self.frozen.below
