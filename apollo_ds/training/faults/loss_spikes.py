"""Telling when training goes wrong: steps without a finite gradient, and losses that leave the range of those before.

The verdict is a function of the losses in their order, and what it needs is part of every checkpoint. So all ranks
come to the same verdict at the same step, in a resumed run too. What follows from it is in `rollback.py`.
"""

from math import inf, isfinite
from statistics import median

from apollo_ds.checkpoint.progress import LossMemory

_WINDOW = 128
_FEWEST = 32
_SPIKE_STEPS = 3
_SIGMA_PER_MAD = 1.4826
_LEAST_SPREAD = 0.01
"""As a fraction of the median. It keeps a small rise from being a spike where losses hardly differ."""


class Diverged(Exception):
    """Training cannot go on from here; the message says why."""

    def __init__(self, why: str, first: int, last: int) -> None:
        super().__init__(why)
        self.first = first
        """The first step that is suspect; the state before it is good."""
        self.last = last
        """The step at which it was sure."""


class LossWatch:
    """Judges each step of a run."""

    def __init__(
        self, memory: LossMemory, most_bad_steps: int, deviations: float, overflow_is_usual: bool = False
    ) -> None:
        """A loss so many robust deviations above the median is too high.

        `overflow_is_usual` in fp16, whose scaler finds its scale by gradients that overflow.
        """
        self.memory = memory
        self._most_bad_steps = most_bad_steps
        self._deviations = deviations
        self._overflow_is_usual = overflow_is_usual

    def see(self, step: int, stage: int, loss: float, grad_norm: float) -> None:
        """Judge a step.

        Raises:
            Diverged: too many in a row had no finite loss or gradient, or a few had too high a loss.
        """
        memory = self.memory
        if stage != memory.stage:
            memory.stage, memory.losses, memory.suspects = stage, [], 0
        if not isfinite(grad_norm):
            memory.skipped_steps += 1
        if not isfinite(loss) or not (isfinite(grad_norm) or self._overflow_is_usual):
            self._see_bad(step)
        else:
            memory.bad_steps = 0
            self._see_loss(step, loss)

    def _see_bad(self, step: int) -> None:
        self.memory.bad_steps += 1
        if self.memory.bad_steps >= self._most_bad_steps:
            why = f"{self.memory.bad_steps} steps in a row had no finite loss or gradient"
            raise Diverged(why, step - self.memory.bad_steps + 1, step)

    def _see_loss(self, step: int, loss: float) -> None:
        memory, ceiling = self.memory, self._ceiling()
        if loss <= ceiling:
            memory.suspects = 0
            memory.losses = [*memory.losses, loss][-_WINDOW:]
            return
        memory.suspects += 1
        if memory.suspects >= _SPIKE_STEPS:
            why = (
                f"the loss was above {ceiling:.4g} for {memory.suspects} steps, at last {loss:.4g}, "
                f"where the median had been {median(memory.losses):.4g}"
            )
            raise Diverged(why, step - memory.suspects + 1, step)

    def _ceiling(self) -> float:
        """Median plus so many robust deviations: 1.4826 times the median distance from it (Hampel 1974)."""
        losses = self.memory.losses
        if len(losses) < _FEWEST:
            return inf
        middle = median(losses)
        spread = _SIGMA_PER_MAD * median(abs(loss - middle) for loss in losses)
        return middle + self._deviations * max(spread, _LEAST_SPREAD * abs(middle))
