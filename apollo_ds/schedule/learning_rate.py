"""Learning-rate policies. A policy is a pure function of the position in a run, or in a part of it.

`Schedule.at` combines the policy with the scale, restart, rewind and re-warm-up of the stage.
"""

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

Policy = Literal["cosine", "linear", "wsd", "constant"]


@dataclass(frozen=True)
class LearningRate:
    """Linear warm-up to `peak` over the first `warmup_fraction` of the steps, then one of

    - cosine, linear: decay to `final_fraction` of the peak at the end;
    - wsd (warm-up, stable, decay): constant, then linear over the last `decay_fraction` of the steps;
    - constant.
    """

    policy: Policy
    peak: float
    warmup_fraction: float = 0.0
    final_fraction: float = 0.0
    decay_fraction: float = 0.1

    def at(self, step: int, total_steps: int) -> float:
        """Return the learning rate of step `step` (from 0) of `total_steps`."""
        warmup_steps = round(self.warmup_fraction * total_steps)
        if step < warmup_steps:
            return self.peak * (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        left = (total_steps - step) / total_steps
        return self.peak * (self.final_fraction + (1 - self.final_fraction) * self._remaining(progress, left))

    def part_at(self, part: float, step: int, since: int, total_steps: int) -> float:
        """Return the rate of a step for parameters whose rate is multiplied by `part` since step `since`.

        Both steps are counted from 0. If `part` is above 1, the rate still falls to the schedule's minimum. With the
        schedule's rate r, minimum m, and highest rate h from `since` on, it is r + (part - 1) (r - m) h / (h - m). That
        is part * h at first, and m at the end. If m is 0, it is part * r at every step. (SPARKLING, arXiv 2602.02472,
        has 1.3 h and then a cosine to m.)
        """
        rate = self.at(step, total_steps)
        if part <= 1:
            return rate * part
        least = self.peak * self.final_fraction
        highest = self.at(max(since, round(self.warmup_fraction * total_steps)), total_steps)
        if highest <= least:  # a level rate
            return rate * part
        return rate + (part - 1) * max(0.0, rate - least) * (highest / (highest - least))

    def decays_from(self, origin: int, total_steps: int) -> int | None:
        """Return the first step after the warm-up at which a `wsd` curve is below its peak; None if there is none.

        The curve begins at step `origin` of the run and has `total_steps` steps.
        """
        if self.policy != "wsd" or not self.decay_fraction or self.final_fraction == 1:
            return None
        first = round(self.warmup_fraction * total_steps)
        near = max(first, int((1 - self.decay_fraction) * total_steps) - 1)
        return next(
            (origin + step for step in range(near, total_steps) if self.at(step, total_steps) < self.peak), None
        )

    def _remaining(self, progress: float, left: float) -> float:
        if self.policy == "cosine":
            return (1 + cos(pi * progress)) / 2
        if self.policy == "linear":
            return 1 - progress
        if self.policy == "wsd":
            return min(1.0, left / self.decay_fraction) if self.decay_fraction else 1.0
        return 1.0
