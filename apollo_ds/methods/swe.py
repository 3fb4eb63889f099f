"""SWE, share weights, then unshare (Yang et al. 2021, arXiv 2110.03848): all layers share their weights at first."""

from typing import Literal

from pydantic import Field

from apollo_ds.methods._base import GrowingMethod, Run, split_steps
from apollo_ds.methods._layer_counts import fewest_layers
from apollo_ds.schedule.depth import SAMPLERS
from apollo_ds.schedule.stage import Stage
from apollo_ds.schedule.triggers import GradientsDisagree


class Swe(GrowingMethod):
    """For a tenth of the run, one layer runs at every position and trains on the mean of its gradients. Then each
    position has a layer of its own. If the family's first layer is unlike the others, it is never shared.

    With `adaptive`, the sharing may end sooner: when at three evaluations in a row most neighbouring positions of the
    layer had gradients with a cosine below 0.5. Every step costs as much as one from scratch.
    """

    name: Literal["swe"] = "swe"
    unshare_at: float = Field(default=0.1, gt=0, lt=1)
    """The fraction of the run at which the layers become separate, at the latest."""
    adaptive: bool = False
    """Whether they may become separate sooner: as soon as the gradients of neighbouring positions disagree."""

    def own_stages(self, run: Run) -> list[Stage]:
        """Return the stages with shared layers and with separate ones."""
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
