"""MIDAS (Saunshi et al., NeurIPS 2024, arXiv 2409.19044): each growth repeats the middle one of the layers' blocks."""

from typing import Literal

from pydantic import Field

from apollo_ds.errors import UserError
from apollo_ds.methods._base import GrowingMethod, MapName, Run, split_steps
from apollo_ds.methods._layer_counts import layers_alike, named_layers
from apollo_ds.schedule.stage import Stage

_MOST_STAGES = 4


class Midas(GrowingMethod):
    """The stages have 1, 2, ... blocks. Each growth puts a copy of the middle block right after it.

    Stage i has the part i^alpha / sum_j j^alpha of the steps (PROP-alpha). With four stages and alpha 1, the parts are
    0.1, 0.2, 0.3 and 0.4. The copies take over Adam's moments, and the learning rate goes on.
    """

    name: Literal["midas"] = "midas"
    block_size: int | None = Field(default=None, ge=1)
    """Layers of a block. It must divide the model's layers. By default there are four stages, such as blocks of 3 in 12
    layers, or fewer if 4 does not divide the layers."""
    alpha: float = Field(default=1.0, ge=0, le=10)
    """How much longer later stages are than earlier ones. With 0 all are as long, with 1 their lengths are in
    proportion to their layers."""
    growth_map: MapName = "middle_block"

    def own_stages(self, run: Run) -> list[Stage]:
        """Return a stage for each number of blocks."""
        alike, size = layers_alike(run.shape), self._block_size(run)
        weights = [number**self.alpha for number in range(1, alike // size + 1)]
        ends = [sum(weights[:number]) / sum(weights) for number in range(1, len(weights))]
        return [
            self.stage(run, steps, run.shape.num_layers - alike + number * size, growth=self.growth_rule(run))
            for number, steps in enumerate(split_steps(run.steps, ends), start=1)
        ]

    def _block_size(self, run: Run) -> int:
        alike = layers_alike(run.shape)
        if self.block_size is None:
            return alike // max(count for count in range(1, _MOST_STAGES + 1) if alike % count == 0)
        if alike % self.block_size:
            fitting = ", ".join(str(size) for size in range(1, max(1, alike // 2) + 1) if alike % size == 0)
            raise UserError(
                f"method.block_size: {self.block_size} does not divide {named_layers(run.shape)}; use one of {fitting}"
            )
        return self.block_size
