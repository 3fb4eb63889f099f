"""RaPTr, progressive subnetworks (Panigrahi et al., ICLR 2025, arXiv 2402.05913): ever longer random sub-networks."""

from dataclasses import dataclass
from typing import Literal

from apollo_ds.methods._block_dropping import BlockDropping
from apollo_ds.schedule.layer_drop import LayerDrop


@dataclass(frozen=True)
class _RandomPath(LayerDrop):
    """The first and the last block always run, the others with the probability that gives the mean length wanted."""

    lengths: tuple[float, ...]
    first_progress: float

    def keep(self, position: int, depth: int, progress: float) -> float:
        """See `LayerDrop`."""
        if position in (0, depth - 1):
            return 1.0
        part = (progress - self.first_progress) / (1 - self.first_progress)
        length = self.lengths[min(int(part * len(self.lengths)), len(self.lengths) - 1)] * depth
        return min(1.0, max(0.0, (length - 2) / (depth - 2)))


class Raptr(BlockDropping):
    """The published lengths for 12 layers are 6, 8, 10 and 12 on average, each for a quarter of the steps."""

    name: Literal["raptr"] = "raptr"
    lengths: tuple[float, ...] = (6 / 12, 8 / 12, 10 / 12, 1.0)
    """Mean number of blocks that run, as a part of all, in equal parts of the run."""

    def layer_drop(self, first_progress: float, rescaled: bool) -> LayerDrop:
        """See `BlockDropping`."""
        return _RandomPath(rescaled, self.lengths, first_progress)
