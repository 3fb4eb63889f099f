"""PLD, progressive layer dropping (Zhang and He, NeurIPS 2020, arXiv 2010.13369): it skips more and more blocks."""

from dataclasses import dataclass
from math import exp
from typing import Literal

from pydantic import Field

from apollo_ds.methods._block_dropping import BlockDropping
from apollo_ds.schedule.layer_drop import LayerDrop


@dataclass(frozen=True)
class _Theta(LayerDrop):
    """keep_l = 1 - l / L (1 - theta) for layer l of L, counted from 1.

    theta falls exponentially from 1 to `theta`, by a factor of e in 1 / `gamma` of the run.
    """

    theta: float
    gamma: float

    def keep(self, position: int, depth: int, progress: float) -> float:
        """Return the probability that a block runs (equation 3): lower for higher blocks, and falling with time."""
        theta = (1 - self.theta) * exp(-self.gamma * progress) + self.theta
        return 1 - (position + 1) / depth * (1 - theta)


class Pld(BlockDropping):
    """The published schedule: theta = 0.5, reached at the rate 100 / (steps of the run)."""

    name: Literal["pld"] = "pld"
    theta: float = Field(default=0.5, gt=0, le=1)
    """The probability to run that the highest block has at the end."""
    gamma: float = Field(default=100.0, gt=0, le=1e6)
    """How fast that probability falls. With 100, the rest of the fall shrinks to 1/e in each hundredth of the run."""

    def layer_drop(self, first_progress: float, rescaled: bool) -> LayerDrop:
        """Return the published probabilities. They depend on the time since the run began, not since skipping began."""
        return _Theta(rescaled, self.theta, self.gamma)
