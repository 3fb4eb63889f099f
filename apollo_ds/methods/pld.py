"""PLD, progressive layer dropping (Zhang and He, NeurIPS 2020, arXiv 2010.13369): ever more blocks are skipped."""

from dataclasses import dataclass
from math import exp
from typing import Literal

from pydantic import Field

from apollo_ds.methods._block_dropping import BlockDropping
from apollo_ds.schedule.layer_drop import LayerDrop


@dataclass(frozen=True)
class _Theta(LayerDrop):
    """keep_l = 1 - l / L (1 - theta), theta falling from 1 to `theta` at the rate `gamma` per run."""

    theta: float
    gamma: float

    def keep(self, position: int, depth: int, progress: float) -> float:
        """The chance that a block runs (Zhang and He 2020, equation 3): lower for higher blocks, and with time."""
        theta = (1 - self.theta) * exp(-self.gamma * progress) + self.theta
        return 1 - (position + 1) / depth * (1 - theta)


class Pld(BlockDropping):
    """The published schedule: theta = 0.5, reached at the rate 100 / (steps of the run)."""

    name: Literal["pld"] = "pld"
    theta: float = Field(default=0.5, gt=0, le=1)
    """The probability to run that the highest block comes down to."""
    gamma: float = Field(default=100.0, gt=0, le=1e6)
    """How fast it comes down, in 1 / run."""

    def layer_drop(self, first_progress: float, rescaled: bool) -> LayerDrop:
        """The published probabilities; they count from the run's start, whenever dropping begins."""
        return _Theta(rescaled, self.theta, self.gamma)
