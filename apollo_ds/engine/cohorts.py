"""Adam with an age for each cohort of coordinates.

Adam divides its moments by 1 - beta^t, t counting the steps they have seen. A coordinate whose moments started from
zero later than the others must use its own t: with the others', its first updates come out several times too large.
The optimizer keeps one counter a tensor, so its update of younger coordinates is taken back and done anew.
"""

from typing import Any

import torch
from torch import Tensor

from apollo_ds.engine.finite import was_skipped


class CohortCorrection:
    """Corrects each step of an AdamW for coordinates that are younger, or have another learning rate, than the rest.

    `masks` maps each flat tensor to the cohort number of its elements (uint8, same length); fill them, then call
    `index`. `newest_learning_rate` is that of the last cohort; None for the same as all.
    """

    def __init__(self, births: tuple[int, ...], flats: list[Tensor]) -> None:
        self.births = births
        self.masks = {flat: torch.zeros(flat.shape, dtype=torch.uint8, device=flat.device) for flat in flats}
        self.newest_learning_rate: float | None = None
        self._members: dict[Tensor, dict[int, Tensor]] = {}

    def index(self) -> None:
        """Note which elements belong to each cohort but the first."""
        self._members = {
            flat: {
                cohort: members
                for cohort in range(1, len(self.births))
                if (members := (mask.view(-1) == cohort).nonzero().view(-1)).numel()
            }
            for flat, mask in self.masks.items()
        }

    @torch.no_grad()
    def correct(self, adam: torch.optim.Optimizer) -> None:
        """Redo the update of the younger coordinates; to be called right after each of the optimizer's steps."""
        if was_skipped(adam):
            return
        for group in adam.param_groups:
            for flat in group["params"]:
                for cohort, members in self._members.get(flat, {}).items():
                    self._correct_cohort(group, flat, adam.state[flat], cohort, members)

    def _correct_cohort(
        self, group: dict[str, Any], flat: Tensor, state: dict[str, Tensor], cohort: int, members: Tensor
    ) -> None:
        step = int(state["step"])
        age, rate = step - self.births[cohort], group["lr"]
        own_rate = rate
        if cohort == len(self.births) - 1 and self.newest_learning_rate is not None:
            own_rate = self.newest_learning_rate
        if own_rate == rate and group["betas"][1] ** age < 1e-8:
            return  # its bias is below fp32's resolution, as the others' is
        mean, square = (state[key].view(-1)[members] for key in ("exp_avg", "exp_avg_sq"))
        weights = flat.view(-1)
        decay = group["weight_decay"]
        before = (weights[members] + rate * _direction(mean, square, step, group)) / (1 - rate * decay)
        weights[members] = before * (1 - own_rate * decay) - own_rate * _direction(mean, square, age, group)


def _direction(mean: Tensor, square: Tensor, age: int, group: dict[str, Any]) -> Tensor:
    """Adam's bias-corrected update at a learning rate of one (Kingma and Ba 2015, algorithm 1)."""
    beta1, beta2 = group["betas"]
    return (mean / (1 - beta1**age)) / ((square / (1 - beta2**age)).sqrt() + group["eps"])
