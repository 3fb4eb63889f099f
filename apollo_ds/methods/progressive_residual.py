"""Progressive residual warm-up (Chen et al. 2026, arXiv 2603.05369): the outputs of new layers rise from 0 to 1."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field

from apollo_ds.errors import UserError
from apollo_ds.methods._base import Modifier, Run
from apollo_ds.schedule.rise import new_layers_rise
from apollo_ds.schedule.stage import Stage


class ProgressiveResidual(Modifier):
    """Each layer's factor rises linearly, the lowest layer's first, as in the paper. After a growth only those of the
    new layers rise."""

    name: Literal["progressive_residual"] = "progressive_residual"
    fraction: float = Field(default=0.1, gt=0, le=1)
    """The part of the run's steps after which the last of the new layers has risen. The paper took 12 % for 12 layers
    and 100,000 steps."""

    def modify(self, stages: list[Stage], run: Run) -> list[Stage]:
        """Let the new layers of each stage rise; `schedule.rise` has the formula.

        Raises:
            UserError: there is no step to rise in, the run ends before layers have risen, or they rise already.
        """
        steps = round(self.fraction * run.steps)
        if steps < 1:
            raise UserError(
                f"method.fraction: {self.fraction:g} of {run.steps:,} steps is less than one step; use a greater one"
            )
        if any(stage.rise_steps for stage in stages):
            raise UserError("method: progressive_residual stands in the list twice, and layers rise once; remove one")
        risen = [replace(stage, rise_steps=steps) for stage in stages]
        _check_time(risen, steps, run.steps)
        return risen


def _check_time(stages: Sequence[Stage], steps: int, all_steps: int) -> None:
    """Refuse layers that would still rise when the run ends."""
    begins = 0
    for old, new in zip([None, *stages], stages, strict=False):
        brings = new.source is None if old is None else new_layers_rise(old, new) and not new.learned_growth
        if brings and begins + steps > all_steps:
            raise UserError(
                f"method.fraction: layers that are new at step {begins:,} would rise for {steps:,} steps, and the run "
                f"ends after {all_steps - begins:,}; use at most {(all_steps - begins) / all_steps:.3g}"
            )
        begins += new.steps
