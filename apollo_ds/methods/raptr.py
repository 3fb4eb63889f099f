"""RaPTr, progressive subnetworks (Panigrahi et al., ICLR 2025, arXiv 2402.05913): more and more random blocks run."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from apollo_ds.errors import UserError
from apollo_ds.methods._base import Run
from apollo_ds.methods._block_dropping import BlockDropping
from apollo_ds.schedule.layer_drop import LayerDrop


@dataclass(frozen=True)
class _RandomPath(LayerDrop):
    """The first and last block always run. The others run with the probability that gives the wanted mean length."""

    lengths: tuple[float, ...]
    first_progress: float

    def keep(self, position: int, depth: int, progress: float) -> float:
        """Return the probability that a block runs; it is 1 for the first and the last."""
        if position in (0, depth - 1):
            return 1.0
        part = (progress - self.first_progress) / (1 - self.first_progress)
        length = self.lengths[min(int(part * len(self.lengths)), len(self.lengths) - 1)] * depth
        return min(1.0, max(0.0, (length - 2) / (depth - 2)))


class Raptr(BlockDropping):
    """On average 6, 8, 10 and 12 of 12 blocks run, as published, each number for a quarter of the steps."""

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
        """Return random paths. Their mean length grows in equal parts of the time that is left when skipping begins."""
        return _RandomPath(rescaled, self.lengths, first_progress)
