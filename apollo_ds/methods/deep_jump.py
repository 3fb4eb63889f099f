"""One late jump from a single shared layer to full depth, under a learning rate that is level until after it.

Unites Apollo's sampled depth with a single late growth (Bu 2025, arXiv 2511.04981): the layer has been run at every
depth, so that the jump leaves the loss as it is.
"""

from typing import Literal

from pydantic import Field

from apollo_ds.learning_rate import Policy
from apollo_ds.methods.base import Run, split_steps
from apollo_ds.methods.sharing import SharingMethod
from apollo_ds.stage import Stage


class DeepJump(SharingMethod):
    """One layer for four fifths of the steps, then all."""

    name: Literal["deep_jump"] = "deep_jump"
    jump_at: float = Field(default=0.8, gt=0, lt=1)
    """Fraction of the run at which the model grows."""

    @property
    def lr_schedule(self) -> Policy:
        """Warm-up, stable, decay."""
        return "wsd"

    def stages(self, run: Run) -> list[Stage]:
        """Before and after the jump."""
        target = run.shape.num_layers
        counts = [1, target] if target > 1 else [1]
        return self.sharing_stages(run, counts, split_steps(run.steps, [self.jump_at][: len(counts) - 1]))
