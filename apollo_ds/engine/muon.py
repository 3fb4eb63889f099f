"""Muon for matrices and AdamW for the rest, as one optimizer over the flat tensors of any ZeRO stage.

DeepSpeed 0.19.8 has a Muon of its own, with four faults. At ZeRO 1 to 3 it orthogonalises gradients before clipping, so
that clipping shortens the update. It keeps the whole momentum of a matrix that two ranks share. It cannot scatter
gradients at ZeRO 3. It treats GPT-2's query, key and value as one matrix. The optimizer here does all of its work in
`step`. So gradients are clipped first, by their own norm, at every stage, and a rank keeps only the momentum of the
elements that it owns.
"""

from collections.abc import Callable
from typing import Any

import torch
from deepspeed.runtime.zero.utils import ZERO_SUPPORTED_OPTIMIZERS
from torch import Tensor

from apollo_ds.engine.finite import was_skipped
from apollo_ds.engine.optimizers import Muon

Orthogonalise = Callable[[dict[Tensor, Tensor]], None]
"""A function like `WholeMatrices.orthogonalise`: it makes updates orthogonal in place, on all ranks together."""
RateOf = Callable[[Tensor, dict[str, Any]], float | Tensor]
"""A function of a flat tensor and its group that returns the learning rate: one for all elements, or one for each."""


class MuonWithAdamW(torch.optim.Optimizer):
    """Groups with `use_muon` get Muon's update, all others that of a fused AdamW.

    For a matrix with gradient g, the momentum m becomes b m + (1 - b) g. The weights decay first, as in AdamW. Then the
    learning rate times the orthogonalised m is subtracted. With `nesterov`, b m + (1 - b) g with the new m takes the
    place of m. `orthogonalise` and `rate_of` are set once DeepSpeed has partitioned the parameters. DeepSpeed may take
    a step before that, with zero gradients and a learning rate of zero.
    """

    orthogonalise: Orthogonalise | None = None
    rate_of: RateOf

    def __init__(self, groups: list[dict[str, Any]], options: Muon) -> None:
        """Take groups in the form of `parameter_groups`: each has lr, betas, eps and weight_decay."""
        super().__init__(groups, {})
        self.muon = options
        others = [group for group in self.param_groups if not group["use_muon"]]
        self._adamw = torch.optim.AdamW(others, fused=True) if others else None

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update the groups that are now in `param_groups`. DeepSpeed may leave only some of them there at a time."""
        others = [group for group in self.param_groups if not group["use_muon"]]
        if self._adamw is not None and others:
            self._adamw.param_groups, self._adamw.state = others, self.state
            self._adamw.found_inf = getattr(self, "found_inf", None)  # type: ignore[attr-defined]
            self._adamw.step()
        if self.orthogonalise is not None:
            self._step_matrices([group for group in self.param_groups if group["use_muon"]], self.orthogonalise)

    def _step_matrices(self, groups: list[dict[str, Any]], orthogonalise: Orthogonalise) -> None:
        skipped = was_skipped(self)
        kept = 1.0 if skipped is None else 1.0 - skipped.float()
        updates: dict[Tensor, Tensor] = {}
        for group in groups:
            for flat in group["params"]:
                updates[flat] = self._momentum(flat, skipped, kept)
        if not updates:
            return
        orthogonalise(updates)
        for group in groups:
            for flat in group["params"]:
                rate = self.rate_of(flat, group) * kept
                flat.mul_(1 - rate * group["weight_decay"]).sub_(updates[flat].mul_(rate))

    def _momentum(self, flat: Tensor, skipped: Tensor | None, kept: float | Tensor) -> Tensor:
        """Add the gradient to the momentum. Returns the tensor to orthogonalise, in the gradient's own memory."""
        gradient = torch.zeros_like(flat) if flat.grad is None else flat.grad
        if skipped is not None:
            gradient.masked_fill_(skipped, 0.0)
        state, beta = self.state[flat], self.muon.momentum
        state["exp_avg"].lerp_(gradient, torch.as_tensor((1 - beta) * kept, device=flat.device))
        state["step"].add_(kept)
        return gradient.lerp_(state["exp_avg"], beta) if self.muon.nesterov else state["exp_avg"].clone()


ZERO_SUPPORTED_OPTIMIZERS.append(MuonWithAdamW)
"""DeepSpeed warns about optimizers that are not in this list, since it has not tested them with ZeRO."""
