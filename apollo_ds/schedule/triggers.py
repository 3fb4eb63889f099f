"""Rules that may end a stage early. They look at measurements that are the same on every rank."""

from dataclasses import dataclass, field
from math import log10
from typing import Protocol


@dataclass
class Evidence:
    """The measurements of a stage so far."""

    flops: list[float] = field(default_factory=list)
    """Operations of the run at each evaluation."""
    losses: list[float] = field(default_factory=list)
    """Held-out loss at each evaluation."""
    correlations: list[float] = field(default_factory=list)
    """Share of shared layers that still get similar gradients at neighbouring positions, at each evaluation."""


class Trigger(Protocol):
    """A rule that may end a stage."""

    measures_gradients: bool
    """Whether the rule needs `Evidence.correlations`."""

    def fires(self, evidence: Evidence) -> bool:
        """Whether the stage should end now."""


@dataclass(frozen=True)
class SlopeFlatterThan:
    """Fires if d log10(held-out loss) / d log10(operations) is above `slope` (Shen et al. 2022)."""

    slope: float
    evaluations: int = 3
    measures_gradients: bool = False

    def fires(self, evidence: Evidence) -> bool:
        """Whether the loss is flat: the least-squares slope of the last evaluations, both axes as logarithms."""
        if len(evidence.losses) < self.evaluations:
            return False
        x = [log10(value) for value in evidence.flops[-self.evaluations :]]
        y = [log10(value) for value in evidence.losses[-self.evaluations :]]
        mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
        covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
        variance = sum((a - mean_x) ** 2 for a in x)
        return variance > 0 and covariance / variance > self.slope


@dataclass(frozen=True)
class GradientsDisagree:
    """Fires if most shared layers' gradients disagree at several evaluations in a row (SWE, Yang et al. 2021)."""

    times: int = 3
    measures_gradients: bool = True

    def fires(self, evidence: Evidence) -> bool:
        """Whether fewer than half of the layers agreed on the gradient at each of the last `times` evaluations."""
        last = evidence.correlations[-self.times :]
        return len(last) == self.times and all(share < 0.5 for share in last)
