"""The base class of methods that run few shared layers at a sampled depth, and then grow."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from apollo_ds.errors import UserError
from apollo_ds.methods._base import GrowingMethod, Run, SamplerName
from apollo_ds.schedule.depth import SAMPLERS
from apollo_ds.schedule.stage import GrowthRule, Stage


class SharingMethod(GrowingMethod):
    """Makes stages of increasing layer counts; each stage runs its layers at random depths up to the full depth."""

    sampler: SamplerName = "lvps"
    """The distribution that the depth of each step is drawn from: `docs/methods/apollo.md` explains them."""
    deep_end: float = Field(default=0.0, ge=0, lt=1)
    """The last part of each stage with shared layers, in which every step runs at full depth, as the grown model
    will."""
    shared_rate: float = Field(default=0.0, ge=0, le=10)
    """Lowers the learning rate of stages with shared layers, since a layer that runs at several positions is moved by
    all of them. The rate is multiplied by (layers of the stage / mean depth) to this power. 0 keeps one rate."""

    def sharing_stages(self, run: Run, layers: Sequence[int], steps: Sequence[int], **changes: Any) -> list[Stage]:
        """Make a stage for each layer count, or two if it has a deep end; `changes` sets other fields of `Stage`.

        Raises:
            UserError: the method has both `deep_end` and `rewarm`.
        """
        if self.deep_end and self.rewarm != "none":
            raise UserError(
                "method.deep_end: a stage in two parts cannot re-warm its learning rate; remove it or rewarm"
            )
        target = run.shape.num_layers
        result = []
        for count, length in zip(layers, steps, strict=True):
            stage = self.stage(run, length, count, growth=self.growth_rule(run), **changes)
            sampled = replace(stage, depth_distribution=SAMPLERS[self.sampler](count, target))
            parts = [sampled]
            deep_steps = round(self.deep_end * length) if count < target else 0
            if 0 < deep_steps < length:
                full = replace(stage, depth_distribution=SAMPLERS["fs"](count, target), growth=GrowthRule())
                parts = [replace(sampled, steps=length - deep_steps), replace(full, steps=deep_steps)]
            result += [replace(part, learning_rate_scale=self._rate(part)) for part in parts]
        return result

    def _rate(self, stage: Stage) -> float:
        mean_depth = sum(depth * chance for depth, chance in stage.depths())
        return (stage.unique_layers / mean_depth) ** self.shared_rate
