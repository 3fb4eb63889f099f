"""Steps whose loss or gradient is not finite change nothing, on any rank, and no rank waits to find out."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def nan_unless_finite(loss: Tensor) -> Tensor:
    """The same loss. If it is not finite, its gradient becomes NaN, and so does the gradient norm on every rank."""
    return loss * torch.where(loss.detach().isfinite(), 1.0, math.nan)


def skip_unless_finite(adam: torch.optim.Optimizer, norm: Callable[[], Tensor]) -> None:
    """Make a fused Adam leave weights, moments and counters alone where the global gradient norm is not finite.

    DeepSpeed looks at the norm itself in some modes only, and fused kernels read this on the device.
    """

    def look(optimizer: Any, _args: Any, _kwargs: Any) -> None:
        skipped = 1 - norm().isfinite().float().reshape(())
        # Where an offloaded Adam is on the CPU, its kernel would not wait for a flag that is still on its way there.
        trained = (parameter for group in optimizer.param_groups for parameter in group["params"])
        optimizer.found_inf = skipped.to(next((parameter.device for parameter in trained), skipped.device))

    adam.register_step_pre_hook(look)


def is_usable(norm: Tensor) -> Tensor:
    """Whether a norm is finite; DeepSpeed stands -1 for one that is not."""
    return norm.isfinite() & (norm >= 0)


def was_skipped(adam: Any) -> Tensor | None:
    """Whether Adam's last step was left out: a bool on the device, of shape (); None where nothing looks."""
    found: Tensor | None = getattr(adam, "found_inf", None)
    return None if found is None else found.bool().reshape(())
