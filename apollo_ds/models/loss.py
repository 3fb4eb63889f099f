"""The summed cross-entropy of a language model's head, without all logits at once."""

from math import ceil
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

IGNORED = -100
"""The label of a position that adds no loss."""
LOGITS_AT_ONCE = {"cpu": 2**24, "cuda": 2**28}
"""So many logits exist at a time, in fp32: all of them, with gradients, would be a model's largest tensors."""


def summed_cross_entropy(hidden: Tensor, decoder: nn.Linear, labels: Tensor) -> Tensor:
    """Cross-entropy in nats of hidden states (rows, hidden_size) and labels (rows), added up in fp32.

    Each chunk of rows computes its gradients right after its loss and then frees its logits. In fp16 the backward
    computes the logits again instead: the loss is scaled only there, and unscaled fp16 gradients would underflow.
    """
    chunks = ceil(len(hidden) * decoder.out_features / LOGITS_AT_ONCE[hidden.device.type])
    rows = ceil(len(hidden) / chunks)
    if hidden.dtype == torch.float16:
        pairs = zip(hidden.split(rows), labels.split(rows), strict=True)
        losses = [checkpoint(_of_chunk, h, decoder, part, use_reentrant=False) for h, part in pairs]
        return torch.stack(losses).sum()
    loss: Tensor = _WithGradients.apply(hidden, decoder.weight, decoder.bias, labels, rows, torch.is_grad_enabled())
    return loss


def _of_chunk(hidden: Tensor, decoder: nn.Linear, labels: Tensor) -> Tensor:
    return F.cross_entropy(decoder(hidden).float(), labels, ignore_index=IGNORED, reduction="sum")


class _WithGradients(torch.autograd.Function):
    """d loss / d logits is softmax(logits) less 1 at the label: a chunk has its gradients as soon as its loss."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, rows: int, trains: bool
    ) -> Tensor:
        """`trains`: whether gradients are enabled, which `ctx.needs_input_grad` does not heed."""
        wants_hidden, wants_weight, wants_bias = (trains and needed for needed in ctx.needs_input_grad[:3])
        of_hidden = torch.empty_like(hidden) if wants_hidden else None
        of_weight = of_bias = None
        precise = torch.promote_types(hidden.dtype, torch.float32)
        loss = torch.zeros((), dtype=precise, device=hidden.device)
        for first in range(0, len(hidden), rows):
            chunk = slice(first, first + rows)
            logits = F.linear(hidden[chunk], weight).to(precise)
            if bias is not None:
                logits += bias
            counts = (labels[chunk] != IGNORED)[:, None].to(hidden.dtype)
            label = labels[chunk].clamp(min=0)[:, None]
            chances = logits.softmax(dim=1)
            # The greatest of them is never too small for its logarithm.
            log_of_sum = logits.amax(dim=1, keepdim=True) - chances.amax(dim=1, keepdim=True).log()
            loss += ((log_of_sum - logits.gather(1, label)) * counts).sum()
            if not (wants_hidden or wants_weight or wants_bias):
                continue
            slope = chances.scatter_add_(1, label, torch.full_like(log_of_sum, -1.0)).to(hidden.dtype)
            if of_hidden is not None:
                torch.mul(slope @ weight, counts, out=of_hidden[chunk])
            if wants_weight:
                rest = hidden[chunk] * counts
                of_weight = slope.t() @ rest if of_weight is None else of_weight.addmm_(slope.t(), rest)
            if wants_bias:
                rest = counts[:, 0]
                of_bias = slope.t() @ rest if of_bias is None else of_bias.addmv_(slope.t(), rest)
        ctx.save_for_backward(of_hidden, of_weight, of_bias)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """In place, so a second one, which would multiply again, is refused by PyTorch."""
        gradients = (None if gradient is None else gradient.mul_(slope) for gradient in ctx.saved_tensors)
        return *gradients, None, None, None
