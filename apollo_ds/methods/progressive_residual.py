"""Progressive residual warm-up (Chen et al. 2026, arXiv 2603.05369): new layers rise from nothing, the lowest first."""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from apollo_ds.errors import UserError
from apollo_ds.methods._base import Modifier, Run
from apollo_ds.schedule.stage import Stage


class ProgressiveResidual(Modifier):
    """The paper's linear schedule; after a growth, of the new layers only."""

    name: Literal["progressive_residual"] = "progressive_residual"
    fraction: float = Field(default=0.1, gt=0, le=1)
    """The part of the run's steps after which the last of the new layers has risen. The paper took 12 % for 12 layers
    and 100,000 steps."""

    def modify(self, stages: list[Stage], run: Run) -> list[Stage]:
        """Let what is new in each stage rise; `schedule.rise` explains how."""
        steps = round(self.fraction * run.steps)
        if steps < 1:
            raise UserError(
                f"method.fraction: {self.fraction:g} of {run.steps:,} steps is none to rise in; use a greater one"
            )
        return [replace(stage, rise_steps=steps) for stage in stages]
