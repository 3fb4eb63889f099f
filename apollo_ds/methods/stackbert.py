"""StackBERT, progressive stacking (Gong et al., ICML 2019): the model is doubled by copying all of it on top."""

from typing import Literal

from apollo_ds.methods._base import GrowingMethod, MapName, Run, split_steps
from apollo_ds.methods._layer_counts import layers_alike
from apollo_ds.schedule.stage import MomentRule, Stage

_PUBLISHED_STEPS = (50, 70, 280)


class StackBert(GrowingMethod):
    """Of every 400 steps of the run, 50 train a quarter of the layers, then 70 train half, then 280 train all."""

    name: Literal["stackbert"] = "stackbert"
    growth_map: MapName = "stack"
    moments: MomentRule = "reset"

    def own_stages(self, run: Run) -> list[Stage]:
        """Return the stages of as many doublings as the depth allows, at most two."""
        alike = layers_alike(run.shape)
        first = run.shape.num_layers - alike
        doublings = 2 if alike % 4 == 0 else 1 if alike % 2 == 0 else 0
        parts = _PUBLISHED_STEPS[2 - doublings :]
        boundaries = [sum(parts[: i + 1]) / sum(parts) for i in range(doublings)]
        return [
            self.stage(run, steps, first + alike // 2 ** (doublings - number), growth=self.growth_rule(run))
            for number, steps in enumerate(split_steps(run.steps, boundaries))
        ]
