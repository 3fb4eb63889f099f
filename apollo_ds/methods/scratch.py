"""Training the full model from the first step: the baseline, as a schedule of one stage."""

from typing import Literal

from apollo_ds.methods._base import Method, Run
from apollo_ds.schedule.stage import Stage


class Scratch(Method):
    """It does not grow."""

    name: Literal["scratch"] = "scratch"

    def stages(self, run: Run) -> list[Stage]:
        """One stage with every layer."""
        return [self.stage(run, run.steps, run.shape.num_layers)]
