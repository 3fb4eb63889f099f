"""Learning-rate policies: the rate of each step as a pure function of its number."""

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

Policy = Literal["cosine", "linear", "wsd", "constant"]
DECAY_FRACTION_OF_WSD = 0.2


@dataclass(frozen=True)
class LearningRate:
    """Linear warm-up to `peak` over `warmup_steps`, then one of

    - cosine, linear: decay to `final_fraction` of the peak at `total_steps`;
    - wsd (warm-up, stable, decay): constant, then linear over the last fifth of the steps;
    - constant.
    """

    policy: Policy
    peak: float
    total_steps: int
    warmup_steps: int
    final_fraction: float = 0.0

    def at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return self.peak * (self.final_fraction + (1 - self.final_fraction) * self._remaining(progress))

    def _remaining(self, progress: float) -> float:
        if self.policy == "cosine":
            return (1 + cos(pi * progress)) / 2
        if self.policy == "linear":
            return 1 - progress
        if self.policy == "wsd":
            return min(1.0, (1 - progress) / DECAY_FRACTION_OF_WSD)
        return 1.0
