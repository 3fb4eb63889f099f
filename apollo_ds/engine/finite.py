"""Skip steps whose loss or gradient is not finite, on all ranks, without making any rank wait for the check."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def nan_unless_finite(loss: Tensor) -> Tensor:
    """Return the same loss. If it is not finite, its gradients become NaN, and so the gradient norm on every rank."""
    return loss * torch.where(loss.detach().isfinite(), 1.0, math.nan)


def skip_unless_finite(adam: torch.optim.Optimizer, norm: Callable[[], Tensor]) -> None:
    """Make a fused Adam keep weights, moments and counters as they are if the global gradient norm is not finite.

    DeepSpeed checks the norm itself in some modes only. Fused kernels read the flag on the device.
    """

    def look(optimizer: Any, _args: Any, _kwargs: Any) -> None:
        skipped = 1 - norm().isfinite().float().reshape(())
        # An offloaded Adam runs on the CPU. Its kernel would not wait for a flag that is still being copied there.
        trained = (parameter for group in optimizer.param_groups for parameter in group["params"])
        optimizer.found_inf = skipped.to(next((parameter.device for parameter in trained), skipped.device))

    adam.register_step_pre_hook(look)


def is_usable(norm: Tensor) -> Tensor:
    """Whether a norm is finite. DeepSpeed writes -1 for one that is not."""
    return norm.isfinite() & (norm >= 0)


def was_skipped(adam: Any) -> Tensor | None:
    """Whether Adam skipped its last step: a bool of shape () on the device; None if nothing checks the norm."""
    found: Tensor | None = getattr(adam, "found_inf", None)
    return None if found is None else found.bool().reshape(())
