"""One layer for most of the run, then all, the new ones silent until they learn: this project's own recipe.

A single late growth under a level learning rate is Bu's (2025, arXiv 2511.04981). What is Apollo's of it, depths drawn
at random while layers are shared, was tried as `deep_jump` and left away, because runs without it ended lower.
"""

from typing import Literal

from pydantic import Field

from apollo_ds.learning_rate import Policy
from apollo_ds.methods.base import GrowingMethod, Run, split_steps
from apollo_ds.stage import NewLayers, Stage


class Sprout(GrowingMethod):
    """One layer for four fifths of the steps, then all."""

    name: Literal["sprout"] = "sprout"
    new_layers: NewLayers = "zero"
    jump_at: float = Field(default=0.8, gt=0, lt=1)
    """Fraction of the run at which the model grows."""

    @property
    def lr_schedule(self) -> Policy:
        """Warm-up, stable, decay: what grows late still has most of the rate before it."""
        return "wsd"

    def stages(self, run: Run) -> list[Stage]:
        """Before and after the growth."""
        target = run.shape.num_layers
        counts = [1, target] if target > 1 else [1]
        steps = split_steps(run.steps, [self.jump_at][: len(counts) - 1])
        return [
            self.stage(run, length, layers, growth=self.growth_rule(run))
            for length, layers in zip(steps, counts, strict=True)
        ]
