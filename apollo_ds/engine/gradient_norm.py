"""Gradients between backward and Adam: averaged, their norm, clipped; without what DeepSpeed 0.19.8 does in vain."""

from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer
from torch import Tensor

_ROW = 4096
"""Elements whose squares are added up in fp32; over millions of them it would lose digits."""


def sum_of_squares(tensors: Iterable[Tensor]) -> Tensor:
    """Of all elements, in fp64 on their device; there must be some tensor."""
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
    """Replace methods of an optimizer, if it is that of ZeRO 1 or 2.

    The norm is found without turning all gradients into fp64, which takes more time than Adam does, and clipping does
    not make the host wait for the device. A single rank's gradients are not copied into a bucket to be averaged, and
    back.
    """
    if isinstance(optimizer, DeepSpeedZeroOptimizer):
        optimizer.get_grad_norm_direct = MethodType(_norm, optimizer)
        optimizer.unscale_and_clip_grads = MethodType(_unscale_and_clip, optimizer)
        if dist.get_world_size() == 1:
            optimizer.buffered_reduce_fallback = lambda *_, **__: None


def speed_up_plain_step(engine: Any, norm: Callable[[], Tensor]) -> None:
    """For an engine without ZeRO in fp32: clip by a norm that is known already, instead of finding it a second time.

    A single rank's gradients stay where they are, too: DeepSpeed would copy them all into a bucket to be averaged, and
    back. What it does before that is kept: parameters that had no part in the step get gradients of zero, so that
    Adam's count of steps is one for all.
    """
    engine.clip_fp32_gradients = lambda: torch.nn.utils.clip_grads_with_norm_(
        engine.module.parameters(), engine.gradient_clipping(), norm()
    )
    if dist.get_world_size() == 1:
        engine.buffered_allreduce_fallback = lambda **_: engine._get_gradients_for_reduction()


def _norm(self: Any, gradients: list[Tensor], _params: Any, norm_type: float = 2) -> Tensor:
    """The norm over all ranks of what each of them owns; -1 where it is not finite, as DeepSpeed says it."""
    owned = [gradient.detach() for gradient in gradients if not getattr(gradient, "_zero_padding", False)]
    total = sum_of_squares(owned) if owned else torch.zeros((), dtype=torch.float64, device=self.device)
    dist.all_reduce(total, group=self.dp_process_group)
    norm = total.sqrt().float()
    return torch.where(norm.isfinite(), norm, -1.0)


def _unscale_and_clip(self: Any, gradients: list[Tensor], norm: Tensor) -> None:
    """Divide gradients by the loss scale, and by as much more as their norm (scaled too) is above the limit.

    What they become where the norm is not finite does not matter: that step is left out.
    """
    scale = self.loss_scale
    if self.clip_grad > 0:
        finite = torch.where(norm >= 0, norm, torch.inf)
        scale = scale * ((finite / scale + 1e-6) / self.clip_grad).clamp(min=1.0)
    elif scale == 1.0:
        return
    for gradient in gradients:
        gradient.mul_(1.0 / scale)
