"""MSLT, Progressively Stacking 2.0 (Yang et al. 2020, arXiv 2011.13635): only the newest layers train, then all."""

from collections.abc import Collection
from itertools import pairwise
from typing import ClassVar, Literal

from pydantic import Field

from apollo_ds.methods._base import GrowingMethod, MapName, Run, split_steps
from apollo_ds.methods._layer_counts import check_divides, layers_alike
from apollo_ds.models.frozen import Frozen
from apollo_ds.schedule.stage import MomentRule, Stage


class Mslt(GrowingMethod):
    """Each growth copies the top block of layers onto the top. Only the new block and the head train, and at the end
    everything.

    The embeddings, and with them the head's matrix, are frozen together with the layers below the newest block.
    """

    name: Literal["mslt"] = "mslt"
    blocks: int = Field(default=4, ge=1)
    """How many stages add layers, each as many. There are fewer if this does not divide the model's layers."""
    joint_fraction: float = Field(default=0.2, ge=0, lt=1)
    """The last part of the run, in which all layers train."""
    growth_map: MapName = "duplicate_top"
    moments: MomentRule = "zero_new"

    fitted: ClassVar[Collection[str]] = ("blocks",)

    def check_fits(self, run: Run) -> None:
        """Refuse blocks that do not divide the layers."""
        if self.sets("blocks"):
            check_divides("blocks", self.blocks, run.shape)

    def own_stages(self, run: Run) -> list[Stage]:
        """Return equal stages of 1, 2, ... blocks, and a last one in which everything trains."""
        target, alike = run.shape.num_layers, layers_alike(run.shape)
        blocks = max(count for count in range(1, self.blocks + 1) if alike % count == 0)
        counts = [target - alike + alike // blocks * (number + 1) for number in range(blocks)]
        ends = [(1 - self.joint_fraction) * (number + 1) / blocks for number in range(blocks)]
        steps = split_steps(run.steps, ends if self.joint_fraction else ends[:-1])
        rule = self.growth_rule(run)
        growing = [
            self.stage(run, steps[number], layers, frozen=Frozen(tuple(range(below))), growth=rule)
            for number, (below, layers) in enumerate(pairwise([0, *counts]))
        ]
        joint = [self.stage(run, steps[-1], target, growth=rule)] if self.joint_fraction else []
        return growing + joint
