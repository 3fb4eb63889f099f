"""The gradient norm, exact to fp32 without a copy of the gradients in fp64."""

from collections.abc import Iterable
from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
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


def make_norm_lean(optimizer: Any) -> None:
    """Let a ZeRO 1 or 2 optimizer of DeepSpeed 0.19.8 find the norm so, instead of from gradients turned into fp64.

    That copy takes more time than Adam does.
    """
    if hasattr(optimizer, "get_grad_norm_direct"):
        optimizer.get_grad_norm_direct = MethodType(_norm, optimizer)


def _norm(self: Any, gradients: list[Tensor], _params: Any, norm_type: float = 2) -> Tensor:
    """The norm over all ranks of what each of them owns; -1 where it is not finite, as DeepSpeed says it."""
    owned = [gradient.detach() for gradient in gradients if not getattr(gradient, "_zero_padding", False)]
    total = sum_of_squares(owned) if owned else torch.zeros((), dtype=torch.float64, device=self.device)
    dist.all_reduce(total, group=self.dp_process_group)
    norm = total.sqrt().float()
    return torch.where(norm.isfinite(), norm, -1.0)
