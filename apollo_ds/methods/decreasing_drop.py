"""Decreasing block drop ("Don't Drop Dropout", arXiv 2609.05275): many blocks are skipped at first, none at the end."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from apollo_ds.methods._block_dropping import BlockDropping
from apollo_ds.schedule.layer_drop import LayerDrop


@dataclass(frozen=True)
class _Decreasing(LayerDrop):
    """P(skip) = maximum l / (L - 1) (1 - t), t from 0 where dropping begins to 1 at the end of the run."""

    maximum: float
    first_progress: float

    def keep(self, position: int, depth: int, progress: float) -> float:
        """The chance that a block runs: lower for higher blocks, and growing to 1 by the run's end."""
        left = (1 - progress) / (1 - self.first_progress)
        return 1 - self.maximum * position / max(1, depth - 1) * left


class DecreasingDrop(BlockDropping):
    """Skips `maximum` / 4 of all blocks. The paper draws for each sequence; here a step's samples share their gates."""

    name: Literal["decreasing_drop"] = "decreasing_drop"
    maximum: float = Field(default=0.5, ge=0, lt=1)
    """The probability with which the highest block is skipped at first."""

    def layer_drop(self, first_progress: float, rescaled: bool) -> LayerDrop:
        """Probabilities that count from where dropping begins."""
        return _Decreasing(rescaled, self.maximum, first_progress)
