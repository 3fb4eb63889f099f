"""Training from scratch, the baseline: the full model trains from the first step, in one stage."""

from typing import Literal

from apollo_ds.methods._base import Method, Run
from apollo_ds.schedule.stage import Stage


class Scratch(Method):
    """The model does not grow."""

    name: Literal["scratch"] = "scratch"

    def stages(self, run: Run) -> list[Stage]:
        """Return one stage with all layers."""
        return [self.stage(run, run.steps, run.shape.num_layers)]
