"""Early doubling: a quarter of the layers train, then half, then all. Each growth puts a copy beside each layer.

This project's own recipe joins two known parts. New layers are copies that take effect at once (progressive stacking,
Gong et al., ICML 2019). The growths come early, because the tokens after a growth help less if the small model was
trained for longer (arXiv 2510.06548).
"""

from typing import Literal

from pydantic import Field

from apollo_ds.errors import UserError
from apollo_ds.methods._base import GrowingMethod, Run, check_fractions, split_steps
from apollo_ds.methods._layer_counts import counts_near, named_layers
from apollo_ds.schedule.learning_rate import Policy
from apollo_ds.schedule.stage import Stage


class EarlyDoubling(GrowingMethod):
    """A quarter of the layers train for the first 5% of the steps, half of them until 12%, and then all. The learning
    rate is level."""

    name: Literal["early_doubling"] = "early_doubling"
    grow_at: tuple[float, ...] = Field(default=(0.05, 0.12), min_length=1)
    """Fractions of the run at which the layers double. The last growth brings all layers. Each stage has the divisor of
    the layers that is nearest; if there are too few divisors, as of 7, the default leaves out its first fractions."""

    @property
    def lr_schedule(self) -> Policy:
        """Warm-up, stable, decay."""
        return "wsd"

    def check_fits(self, run: Run) -> None:
        """Refuse more growths than the layers allow."""
        counts = self._counts(run)
        if self.sets("grow_at") and len(counts) <= len(self.grow_at):
            raise UserError(
                f"method.grow_at: {named_layers(run.shape)} can only be {', '.join(map(str, counts))} in turn, which "
                f"needs {len(counts) - 1} of the {len(self.grow_at)} fractions; remove the others"
            )

    def own_stages(self, run: Run) -> list[Stage]:
        """Return a stage for each layer count."""
        check_fractions("method.grow_at", self.grow_at)
        counts = self._counts(run)
        grow_at = self.grow_at[len(self.grow_at) + 1 - len(counts) :]
        return [
            self.stage(run, steps, layers, growth=self.growth_rule(run))
            for layers, steps in zip(counts, split_steps(run.steps, grow_at), strict=True)
        ]

    def _counts(self, run: Run) -> list[int]:
        return counts_near(run.shape, [0.5**halvings for halvings in range(len(self.grow_at), 0, -1)])
