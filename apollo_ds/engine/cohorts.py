"""Adam with an age for each cohort of coordinates. A cohort is the set of coordinates that were new at one growth.

Adam divides its moments by 1 - beta^t, where t counts the steps that the moments have seen. A coordinate whose moments
started from zero later than the others must use its own t. With the t of the others its first updates are several times
too large. The optimizer has only one counter for each tensor, so its update of younger coordinates is undone and
computed again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from apollo_ds.engine.finite import was_skipped

CHUNK = {"cpu": 2**16, "cuda": 2**24}
"""The most elements that are corrected at a time. They fit in a CPU's cache, and take few kernels on a GPU. Temporary
tensors have at most this size, however many coordinates are young."""
_STEPS_BETWEEN_LOOKS = 1000
"""Every so many steps the host reads Adam's counter, to find cohorts that are now old. On a GPU it waits for that."""
_NO_BIAS = 1e-8
"""A bias correction beta^t below this is lost in fp32's rounding."""


@dataclass(frozen=True)
class _Run:
    """Neighbouring elements of a flat tensor. Some or all of them belong to one cohort."""

    start: int
    length: int
    cohort: int
    is_whole: bool
    """Whether all of them belong to the cohort."""


class CohortCorrection:
    """Corrects each step of an AdamW for coordinates that are younger than the rest or have another learning rate.

    `masks` maps each flat tensor to the cohort numbers of its elements (uint8, same length). Fill them, then call
    `index`. The last cohort's learning rate is `newest_lr` of its group, if that is set. Muon's updates do not depend
    on an age; Muon asks `rate` for the learning rates before the step.
    """

    def __init__(self, births: tuple[int, ...], flats: list[Tensor]) -> None:
        self.births = births
        self.masks = {flat: torch.zeros(flat.shape, dtype=torch.uint8, device=flat.device) for flat in flats}
        self._runs: dict[Tensor, list[_Run]] = {}

    def index(self) -> None:
        """Note the places of the elements of every cohort except the first."""
        self._runs = {flat: list(_runs(mask.view(-1))) for flat, mask in self.masks.items()}

    @torch.no_grad()
    def begin_step(self, step: int, adam: torch.optim.Optimizer) -> None:
        """Every 1,000 steps, merge cohorts whose bias correction is below fp32's resolution into the first cohort.

        This waits for the device. It depends only on the step's number and the training state, so a resumed run does it
        at the same steps as one that was never stopped.
        """
        if step % _STEPS_BETWEEN_LOOKS:
            return
        group = adam.param_groups[0]  # all groups have the same betas; their rates differ by a factor
        for flat, runs in self._runs.items():
            counter = int(adam.state[flat]["step"]) if runs else 0
            self._runs[flat] = [run for run in runs if not self._joins(flat, run, counter, group)]

    def _joins(self, flat: Tensor, run: _Run, counter: int, group: dict[str, Any]) -> bool:
        age = counter - self.births[run.cohort]
        is_young = self.births[run.cohort] > self.births[0] and group["betas"][1] ** age >= _NO_BIAS
        if is_young or self._has_own_rate(run.cohort, group):
            return False
        members = self._members(flat, run)
        members.masked_fill_(members == run.cohort, 0)
        return True

    @torch.no_grad()
    def correct(self, adam: torch.optim.Optimizer) -> None:
        """Redo the update of the younger coordinates. Call it right after each step of the optimizer."""
        skipped = was_skipped(adam)
        for group in adam.param_groups:
            if group.get("use_muon"):
                continue
            for flat in group["params"]:
                for run in self._runs.get(flat, ()):
                    birth, own_rate = self.births[run.cohort], self._own_rate(run.cohort, group)
                    if birth > self.births[0] or own_rate != group["lr"]:
                        _redo(flat, adam.state[flat], group, run, self._taken(flat, run, skipped), birth, own_rate)

    def rate(self, flat: Tensor, group: dict[str, Any]) -> float | Tensor:
        """The learning rate of a flat tensor's elements: a tensor of its shape, or one number if all are equal."""
        last = len(self.births) - 1
        rate, newest = float(group["lr"]), self._own_rate(last, group)
        return rate if newest == rate else torch.where(self.masks[flat] == last, newest, rate)

    def _own_rate(self, cohort: int, group: dict[str, Any]) -> float:
        return float(group["newest_lr"] if self._has_own_rate(cohort, group) else group["lr"])

    def _has_own_rate(self, cohort: int, group: dict[str, Any]) -> bool:
        """Whether a cohort has a learning rate of its own, even if that now equals the others'."""
        return cohort == len(self.births) - 1 and group.get("newest_lr") is not None

    def _taken(self, flat: Tensor, run: _Run, skipped: Tensor | None) -> Tensor | None:
        """A bool mask of the elements that get the new update; None for all."""
        taken = None if skipped is None else ~skipped.to(flat.device)
        if run.is_whole:
            return taken
        own = self._members(flat, run) == run.cohort
        return own if taken is None else own & taken

    def _members(self, flat: Tensor, run: _Run) -> Tensor:
        return self.masks[flat].view(-1).narrow(0, run.start, run.length)


def _runs(mask: Tensor) -> Iterator[_Run]:
    """The chunks of a mask that have younger elements, once for each cohort in the chunk."""
    size = CHUNK[mask.device.type]
    for number, chunk in enumerate(mask.split(size)):
        cohorts = chunk.unique().tolist()
        for cohort in cohorts:
            if cohort:
                yield _Run(number * size, len(chunk), cohort, is_whole=len(cohorts) == 1)


def _redo(
    flat: Tensor,
    state: dict[str, Tensor],
    group: dict[str, Any],
    run: _Run,
    taken: Tensor | None,
    birth: int,
    own_rate: float,
) -> None:
    """Undo Adam's update of a run's elements, and update them with their own age and learning rate."""
    weights, mean, square = (
        tensor.view(-1).narrow(0, run.start, run.length) for tensor in (flat, state["exp_avg"], state["exp_avg_sq"])
    )
    step, rate, decay = state["step"].double(), group["lr"], group["weight_decay"]
    before = _direction(mean, square, step, group).mul_(rate).add_(weights).div_(1 - rate * decay)
    own = _direction(mean, square, step - birth, group).mul_(own_rate)
    redone = before.mul_(1 - own_rate * decay).sub_(own)
    weights.copy_(redone if taken is None else torch.where(taken, redone, weights))


def _direction(mean: Tensor, square: Tensor, age: Tensor, group: dict[str, Any]) -> Tensor:
    """Adam's bias-corrected update at a learning rate of one (Kingma and Ba 2015, algorithm 1)."""
    beta1, beta2 = group["betas"]
    below = (square / (1 - beta2**age)).sqrt_().add_(group["eps"])
    return (mean / (1 - beta1**age)).div_(below)
