"""Average gradients, take their norm and clip them, without the needless work that DeepSpeed 0.19.8 does."""

from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer
from torch import Tensor

_ROW = 4096
"""The number of squares that are added in fp32. A sum of millions would lose digits, so the rest is added in fp64."""


def sum_of_squares(tensors: Iterable[Tensor]) -> Tensor:
    """The sum of the squares of all elements, in fp64 on their device. There must be at least one tensor."""
    rows, rests = [], []
    for tensor in tensors:
        flat = tensor.flatten()
        whole = flat.numel() - flat.numel() % _ROW
        rows.append(flat[:whole].view(-1, _ROW))
        rests.append(flat[whole:])
    parts = [*(part for part in rows if len(part)), torch.cat(rests)[None]]
    norms = [torch.linalg.vector_norm(part, dim=1, dtype=torch.float32) for part in parts]
    return torch.cat(norms).double().square().sum()


def speed_up_zero_step(optimizer: Any) -> None:
    """Replace slow methods of an optimizer of ZeRO 1 or 2. Do nothing for any other.

    The new methods find the norm without converting all gradients to fp64, which takes longer than Adam itself. They
    clip without making the host wait for the device. A single rank skips the copy of its gradients into and out of a
    bucket for averaging.
    """
    if isinstance(optimizer, DeepSpeedZeroOptimizer):
        optimizer.get_grad_norm_direct = MethodType(_norm, optimizer)
        optimizer.unscale_and_clip_grads = MethodType(_unscale_and_clip, optimizer)
        if dist.get_world_size() == 1:
            optimizer.buffered_reduce_fallback = lambda *_, **__: None


def speed_up_plain_step(engine: Any, norm: Callable[[], Tensor]) -> None:
    """For an fp32 engine without ZeRO: clip with the norm that is already known, instead of computing it again.

    A single rank also skips the copy of its gradients into and out of a bucket for averaging. One thing that DeepSpeed
    does before is kept: parameters without a gradient get zeros, so that Adam's step counter is the same for all.
    """
    engine.clip_fp32_gradients = lambda: torch.nn.utils.clip_grads_with_norm_(
        engine.module.parameters(), engine.gradient_clipping(), norm()
    )
    if dist.get_world_size() == 1:
        engine.buffered_allreduce_fallback = lambda **_: engine._get_gradients_for_reduction()


def _norm(self: Any, gradients: list[Tensor], _params: Any, norm_type: float = 2) -> Tensor:
    """The norm of the gradients that all ranks together own; -1 if it is not finite, as in DeepSpeed."""
    owned = [gradient.detach() for gradient in gradients if not getattr(gradient, "_zero_padding", False)]
    total = sum_of_squares(owned) if owned else torch.zeros((), dtype=torch.float64, device=self.device)
    dist.all_reduce(total, group=self.dp_process_group)
    norm = total.sqrt().float()
    return torch.where(norm.isfinite(), norm, -1.0)


def _unscale_and_clip(self: Any, gradients: list[Tensor], norm: Tensor) -> None:
    """Divide gradients by the loss scale, and scale them down further if their norm is above the clipping limit.

    `norm` contains the loss scale too. If it is not finite, the result does not matter, since the step is skipped.
    """
    scale = self.loss_scale
    if self.clip_grad > 0:
        finite = torch.where(norm >= 0, norm, torch.inf)
        scale = scale * ((finite / scale + 1e-6) / self.clip_grad).clamp(min=1.0)
    elif scale == 1.0:
        return
    for gradient in gradients:
        gradient.mul_(1.0 / scale)
