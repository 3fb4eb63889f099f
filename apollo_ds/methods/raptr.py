"""RaPTr, progressive subnetworks (Panigrahi et al., ICLR 2025, arXiv 2402.05913): ever longer random sub-networks."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from apollo_ds.errors import UserError
from apollo_ds.methods._base import Run
from apollo_ds.methods._block_dropping import BlockDropping
from apollo_ds.schedule.layer_drop import LayerDrop


@dataclass(frozen=True)
class _RandomPath(LayerDrop):
    """The first and the last block always run, the others with the probability that gives the mean length wanted."""

    lengths: tuple[float, ...]
    first_progress: float

    def keep(self, position: int, depth: int, progress: float) -> float:
        """The chance that a block runs; the first and the last always do."""
        if position in (0, depth - 1):
            return 1.0
        part = (progress - self.first_progress) / (1 - self.first_progress)
        length = self.lengths[min(int(part * len(self.lengths)), len(self.lengths) - 1)] * depth
        return min(1.0, max(0.0, (length - 2) / (depth - 2)))


class Raptr(BlockDropping):
    """The published lengths for 12 layers are 6, 8, 10 and 12 on average, each for a quarter of the steps."""

    name: Literal["raptr"] = "raptr"
    lengths: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field((6 / 12, 8 / 12, 10 / 12, 1.0), min_length=1)
    """What fraction of the blocks runs on average, in equal parts of the run."""

    def check_fits(self, run: Run) -> None:
        """Refuse paths that are shorter than the first and the last block."""
        least = 2 / run.shape.num_layers
        if self.sets("lengths") and min(self.lengths) < least:
            raise UserError(
                f"method.lengths: {min(self.lengths):g} of {run.shape.num_layers} layers are fewer than two, and the "
                f"first and the last always run; use at least {least:g}"
            )

    def layer_drop(self, first_progress: float, rescaled: bool) -> LayerDrop:
        """Random paths, whose mean length grows in equal parts of what is left of the run."""
        return _RandomPath(rescaled, self.lengths, first_progress)
