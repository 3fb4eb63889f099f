"""G_stack (Du et al., NeurIPS 2024, arXiv 2405.15319): a quarter of the layers for a while, then four of it stacked."""

from collections.abc import Collection
from typing import ClassVar, Literal

from pydantic import Field

from apollo_ds.methods._base import GrowingMethod, MapName, Run, split_steps
from apollo_ds.methods._layer_counts import check_divides, counts_near
from apollo_ds.schedule.stage import MomentRule, Stage


class GStack(GrowingMethod):
    """One hop by a factor of four; the optimizer and the learning rate begin anew, as published."""

    name: Literal["g_stack"] = "g_stack"
    factor: int = Field(default=4, ge=2)
    """By how much the depth grows; the nearest divisor of the layers is taken."""
    grow_at: float = Field(default=0.1, gt=0, lt=1)
    """Fraction of the run at which it does."""
    growth_map: MapName = "stack"
    moments: MomentRule = "reset"

    fitted: ClassVar[Collection[str]] = ("factor",)

    def check_fits(self, run: Run) -> None:
        """See `Method`."""
        if self.sets("factor"):
            check_divides("factor", self.factor, run.shape)

    def own_stages(self, run: Run) -> list[Stage]:
        """The small model and the large one."""
        counts = counts_near(run.shape, [1 / self.factor])
        return [
            self.stage(run, steps, layers, growth=self.growth_rule(run), restarts_learning_rate=True)
            for layers, steps in zip(counts, split_steps(run.steps, [self.grow_at][: len(counts) - 1]), strict=True)
        ]
