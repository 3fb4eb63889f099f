"""Decreasing block drop ("Don't Drop Dropout", arXiv 2609.05275): many blocks are skipped at first, none at the end."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from apollo_ds.methods._block_dropping import BlockDropping
from apollo_ds.schedule.layer_drop import LayerDrop


@dataclass(frozen=True)
class _Decreasing(LayerDrop):
    """P(skip) = maximum l / (L - 1) (1 - t) for layer l of L, counted from 0.

    t rises from 0, where skipping begins, to 1 at the end of the run.
    """

    maximum: float
    first_progress: float

    def keep(self, position: int, depth: int, progress: float) -> float:
        """Return the probability that a block runs: lower for higher blocks, rising to 1 by the run's end."""
        left = (1 - progress) / (1 - self.first_progress)
        return 1 - self.maximum * position / max(1, depth - 1) * left


class DecreasingDrop(BlockDropping):
    """It skips `maximum` / 4 of all blocks. The paper draws for each sequence which blocks run; here all samples of a
    step skip the same blocks."""

    name: Literal["decreasing_drop"] = "decreasing_drop"
    maximum: float = Field(default=0.5, ge=0, lt=1)
    """The probability with which the highest block is skipped at first."""

    def layer_drop(self, first_progress: float, rescaled: bool) -> LayerDrop:
        """Return probabilities that depend on the time since skipping began."""
        return _Decreasing(rescaled, self.maximum, first_progress)
