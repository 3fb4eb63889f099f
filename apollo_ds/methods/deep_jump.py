"""One late jump from few shared layers to full depth. The learning rate stays level until after the jump.

The method joins Apollo's sampled depth and a single late growth (Bu 2025, arXiv 2511.04981). The layers have run at
every depth before, so the jump leaves the loss as it is.
"""

from typing import Literal

from pydantic import Field

from apollo_ds.errors import UserError
from apollo_ds.methods._base import Run, split_steps
from apollo_ds.methods._layer_counts import fewest_layers
from apollo_ds.methods._sharing import SharingMethod
from apollo_ds.schedule.learning_rate import Policy
from apollo_ds.schedule.stage import Stage


class DeepJump(SharingMethod):
    """One layer trains for four fifths of the steps, then all layers."""

    name: Literal["deep_jump"] = "deep_jump"
    first_layers: int = Field(default=1, ge=1)
    """Layers before the jump. A model with no more layers than this does not grow. A `modernbert` has at least 2."""
    jump_at: float = Field(default=0.8, gt=0, lt=1)
    """Fraction of the run at which the model grows."""

    @property
    def lr_schedule(self) -> Policy:
        """Warm-up, stable, decay."""
        return "wsd"

    def check_fits(self, run: Run) -> None:
        """Refuse fewer layers than the family needs at first, and as many as the whole model has."""
        fewest = fewest_layers(run.shape)
        if "first_layers" in self.model_fields_set and self.first_layers < fewest:
            raise UserError(
                f"method.first_layers: the first layer of a {run.shape.family} is unlike the others and cannot stand "
                f"for them; use at least {fewest}, not {self.first_layers}"
            )
        if self.first_layers >= run.shape.num_layers:
            raise UserError(
                f"method.first_layers: {self.first_layers} are all of the model's {run.shape.num_layers} layers, "
                "so that nothing would grow; use fewer, or method=scratch"
            )

    def own_stages(self, run: Run) -> list[Stage]:
        """Return the stages before and after the jump."""
        target = run.shape.num_layers
        first = max(self.first_layers, fewest_layers(run.shape))
        counts = [first, target] if target > first else [target]
        return self.sharing_stages(run, counts, split_steps(run.steps, [self.jump_at][: len(counts) - 1]))
