"""Apollo (AAAI 2024, arXiv 2401.09192): few layers run at a random depth up to the full one, then more are added."""

from itertools import pairwise
from typing import Literal

from apollo_ds.errors import UserError, shown
from apollo_ds.methods._base import MapName, Run, check_fractions, split_steps
from apollo_ds.methods._layer_counts import counts_near
from apollo_ds.methods._sharing import SharingMethod
from apollo_ds.schedule.stage import Stage
from data_prep.counted import counted


class Apollo(SharingMethod):
    """The published schedule for 12 layers has stages of 1, 3, 6 and 12 layers. BERT grows after 2, 4 and 10 of 40
    epochs, GPT after as many of 35."""

    name: Literal["apollo"] = "apollo"
    layers: list[int] | None = None
    """Unique layers of each stage. By default the divisors of the depth that are nearest to 1/12, 1/4, 1/2 and all of
    it."""
    grow_at: list[float] | None = None
    """Fractions of the run at which the model grows. By default those published for BERT; if the stages are fewer, the
    last of them."""
    layer_map: MapName = "interpolate"
    """Which unique layer runs at each position. A growth changes nothing in what the model computes if `growth_map` is
    the same."""
    draw: Literal["step", "micro_step"] = "step"
    """Whether all micro-batches of a step have the same depth, or each has its own, as in the published code."""

    def own_stages(self, run: Run) -> list[Stage]:
        """Return a stage for each layer count."""
        target = run.shape.num_layers
        layers = self.layers if self.layers is not None else counts_near(run.shape, (1 / 12, 1 / 4, 1 / 2))
        published = [2 / 40, 4 / 40, 10 / 40]
        grow_at = self.grow_at if self.grow_at is not None else published[max(0, 4 - len(layers)) :]
        self._check(layers, grow_at, target)
        steps = split_steps(run.steps, grow_at)
        return self.sharing_stages(run, layers, steps, layer_map=self.layer_map, draw=self.draw)

    def _check(self, layers: list[int], grow_at: list[float], target: int) -> None:
        increasing = all(a < b for a, b in pairwise(layers))
        if not layers or not increasing or layers[0] < 1 or layers[-1] != target:
            raise UserError(
                f"method.layers: must increase from at least 1 to the model's {target}, not {shown(layers)}"
            )
        if len(grow_at) != len(layers) - 1:
            raise UserError(
                f"method.grow_at: must have {counted(len(layers) - 1, 'fraction')} for "
                f"{counted(len(layers), 'stage')}, not {shown(grow_at)}"
            )
        check_fractions("method.grow_at", grow_at)
