"""Training the full model from the first step: the baseline, as a schedule of one stage."""

from typing import Literal

from apollo_ds.depth import SAMPLERS
from apollo_ds.methods.base import Method, Run
from apollo_ds.schedule import Stage


class Scratch(Method):
    """No growth."""

    name: Literal["scratch"] = "scratch"

    def stages(self, run: Run) -> list[Stage]:
        """One stage with every layer."""
        layers = run.shape.num_layers
        return [
            Stage(
                method=self.name,
                steps=run.steps,
                shape=run.shape,
                unique_layers=layers,
                seq_len=run.seq_len,
                depth_distribution=SAMPLERS["none"](layers, layers),
                layer_map="interpolate",
            )
        ]
