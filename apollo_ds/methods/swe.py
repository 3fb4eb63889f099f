"""SWE, share weights, then unshare (Yang et al. 2021, arXiv 2110.03848): all layers are one, until they disagree."""

from typing import Literal

from pydantic import Field

from apollo_ds.methods._base import GrowingMethod, Run, split_steps
from apollo_ds.methods._layer_counts import fewest_layers
from apollo_ds.schedule.depth import SAMPLERS
from apollo_ds.schedule.stage import Stage
from apollo_ds.schedule.triggers import GradientsDisagree


class Swe(GrowingMethod):
    """One layer, run at every position and trained on the mean of its gradients; all layers from a tenth of the run.
    Where the first layer is unlike the others, it is one beside that one.

    Adaptively, it ends sooner: when at three evaluations in a row most neighbouring occurrences of the layer had
    gradients with a cosine below 0.5. Every step costs as much as one from scratch.
    """

    name: Literal["swe"] = "swe"
    unshare_at: float = Field(default=0.1, gt=0, lt=1)
    """The fraction of the run at which the layers become separate, at the latest."""
    adaptive: bool = False
    """Whether they may become separate sooner: as soon as the gradients of neighbouring positions disagree."""

    def own_stages(self, run: Run) -> list[Stage]:
        """Shared and unshared."""
        target = run.shape.num_layers
        counts = sorted({min(fewest_layers(run.shape), target), target})
        return [
            self.stage(
                run,
                steps,
                layers,
                depth_distribution=SAMPLERS["fs"](layers, target),
                tied_gradients="mean" if layers < target else "sum",
                growth=self.growth_rule(run),
                ends=GradientsDisagree() if self.adaptive and layers < target else None,
            )
            for layers, steps in zip(counts, split_steps(run.steps, [self.unshare_at][: len(counts) - 1]), strict=True)
        ]
