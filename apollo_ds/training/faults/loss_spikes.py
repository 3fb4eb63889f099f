"""Detect when training goes wrong: steps without a finite gradient, and losses far above the earlier ones.

The verdict depends only on the losses in their order, and its memory is part of every checkpoint. So all ranks come to
the same verdict at the same step, in a resumed run too. `rollback.py` then takes the run back.
"""

from math import inf, isfinite
from statistics import median

from apollo_ds.checkpoint.progress import LossMemory

_WINDOW = 128
_FEWEST = 32
_SPIKE_STEPS = 3
_SIGMA_PER_MAD = 1.4826
_LEAST_SPREAD = 0.01
"""The least spread, as a fraction of the median loss. Without it, a small rise would count as a spike while losses
hardly differ."""


class Diverged(Exception):
    """Training has gone wrong and cannot continue from this state. The message says why."""

    def __init__(self, why: str, first: int, last: int) -> None:
        super().__init__(why)
        self.first = first
        """The first suspect step. The state before it is good."""
        self.last = last
        """The step at which the verdict was reached."""


class LossWatch:
    """Judges each step of a run by its loss and gradient norm."""

    def __init__(
        self, memory: LossMemory, most_bad_steps: int, deviations: float, overflow_is_usual: bool = False
    ) -> None:
        """A loss is too high if it lies more than `deviations` robust deviations above the median.

        `overflow_is_usual` is true in fp16, where gradients overflow while the loss scale is adjusted.
        """
        self.memory = memory
        self._most_bad_steps = most_bad_steps
        self._deviations = deviations
        self._overflow_is_usual = overflow_is_usual

    def see(self, step: int, stage: int, loss: float, grad_norm: float) -> None:
        """Judge a step.

        Raises:
            Diverged: too many steps in a row had a loss or gradient that was not finite, or several had too high a
                loss.
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
        """The highest normal loss: the median plus `deviations` robust deviations.

        A robust deviation is 1.4826 times the median distance from the median (Hampel 1974).
        """
        losses = self.memory.losses
        if len(losses) < _FEWEST:
            return inf
        middle = median(losses)
        spread = _SIGMA_PER_MAD * median(abs(loss - middle) for loss in losses)
        return middle + self._deviations * max(spread, _LEAST_SPREAD * abs(middle))
