"""The summed cross-entropy of a language model's head, without all logits at once."""

from collections.abc import Callable
from functools import cache, partial
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
"""The number of logits that exist at a time, in fp32. All logits and gradients would be a model's largest tensors."""
VOCABULARY_MULTIPLE = {"cpu": 1, "cuda": 64}
"""A GPU's products with a matrix of 50,257 rows take several times as long as with one of 50,304."""


def share_with_labels(labels: Tensor) -> Tensor:
    """Return the share of labels that count, in fp32. It is exactly 1 if all do, so dividing by it changes nothing."""
    return (labels != IGNORED).float().mean()


def summed_cross_entropy(hidden: Tensor, decoder: nn.Linear, labels: Tensor, compiled: bool = False) -> Tensor:
    """Cross-entropy in nats of hidden states (rows, hidden_size) and labels (rows), added up in fp32.

    Each chunk of rows computes its gradients right after its loss and then frees its logits. In fp16 the backward
    computes the logits again instead: the loss is scaled only there, and unscaled fp16 gradients would underflow.
    `compiled`, on a GPU in other precisions, lets one kernel turn logits into their gradients.
    """
    chunks = ceil(len(hidden) * decoder.out_features / LOGITS_AT_ONCE[hidden.device.type])
    rows = ceil(len(hidden) / chunks)
    if hidden.dtype == torch.float16:
        weight, bias = _filled_up(decoder.weight, decoder.bias)
        # The module itself where it can be: under ZeRO 3 its hooks fetch the matrix again for the backward.
        head = decoder if weight is decoder.weight else partial(F.linear, weight=weight, bias=bias)
        pairs = zip(hidden.split(rows), labels.split(rows), strict=True)
        losses = [checkpoint(_of_chunk, h, head, part, use_reentrant=False) for h, part in pairs]
        return torch.stack(losses).sum()
    trains = torch.is_grad_enabled()
    loss: Tensor = _WithGradients.apply(hidden, decoder.weight, decoder.bias, labels, rows, trains, compiled)
    return loss


def _filled_up(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Pad the head's matrix and bias with rows for tokens that do not exist, to a size at which the device is fast."""
    missing = -len(weight) % VOCABULARY_MULTIPLE[weight.device.type]
    if not missing:
        return weight, bias
    known = weight.new_zeros(len(weight)) if bias is None else bias
    return F.pad(weight, (0, 0, 0, missing)), F.pad(known, (0, missing), value=-torch.inf)


def _of_chunk(hidden: Tensor, head: Callable[[Tensor], Tensor], labels: Tensor) -> Tensor:
    return F.cross_entropy(head(hidden).float(), labels, ignore_index=IGNORED, reduction="sum")


class _WithGradients(torch.autograd.Function):
    """d loss / d logits is softmax(logits) less 1 at the label: a chunk has its gradients as soon as its loss."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        rows: int,
        trains: bool,
        compiled: bool,
    ) -> Tensor:
        """`trains`: whether gradients are enabled, which `ctx.needs_input_grad` does not heed."""
        wants_hidden, wants_weight, wants_bias = (trains and needed for needed in ctx.needs_input_grad[:3])
        vocabulary = len(weight)
        weight, bias = _filled_up(weight, bias)
        of_hidden = torch.empty_like(hidden) if wants_hidden else None
        of_weight = of_bias = None
        loss = torch.zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
        wants_slope = wants_hidden or wants_weight or wants_bias
        of_logits = _OF_LOGITS["compiled" if compiled and wants_slope and hidden.is_cuda else hidden.device.type]
        for first in range(0, len(hidden), rows):
            chunk = slice(first, first + rows)
            counts = (labels[chunk] != IGNORED)[:, None].to(hidden.dtype)
            label = labels[chunk].clamp(min=0)[:, None]
            log_chance, slope = of_logits(hidden[chunk], weight, bias, label, wants_slope)
            loss -= (log_chance * counts).sum()
            if slope is None:
                continue
            if of_hidden is not None:
                torch.mul(slope @ weight, counts, out=of_hidden[chunk])
            if wants_weight:
                rest = hidden[chunk] * counts
                of_weight = slope.t() @ rest if of_weight is None else of_weight.addmm_(slope.t(), rest)
            if wants_bias:
                rest = counts[:, 0]
                of_bias = slope.t() @ rest if of_bias is None else of_bias.addmv_(slope.t(), rest)
        of_matrix = (None if gradient is None else gradient[:vocabulary] for gradient in (of_weight, of_bias))
        ctx.save_for_backward(of_hidden, *of_matrix)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """Multiply the gradients in place. PyTorch refuses a second backward, which would multiply them again."""
        gradients = (None if gradient is None else gradient.mul_(slope) for gradient in ctx.saved_tensors)
        return *gradients, None, None, None, None


_LogChanceAndSlope = tuple[Tensor, Tensor | None]
"""The logarithm of the label's chance (rows, 1), in fp32; and d loss / d logits (rows, tokens), where it is wanted."""


def _by_softmax(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, label: Tensor, wants_slope: bool
) -> _LogChanceAndSlope:
    """Use one exponential for each logit, since a CPU is slow at exponentials."""
    logits = F.linear(hidden, weight).to(torch.promote_types(hidden.dtype, torch.float32))
    if bias is not None:
        logits += bias
    chances = logits.softmax(dim=1)
    # The greatest of them is never too small for its logarithm.
    log_of_sum = logits.amax(dim=1, keepdim=True) - chances.amax(dim=1, keepdim=True).log()
    log_chance = logits.gather(1, label) - log_of_sum
    if not wants_slope:
        return log_chance, None
    return log_chance, chances.scatter_add_(1, label, torch.full_like(log_of_sum, -1.0)).to(hidden.dtype)


def _by_log_softmax(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, label: Tensor, wants_slope: bool
) -> _LogChanceAndSlope:
    """Use as few passes over the logits as possible, since a GPU's memory is slow."""
    logits = F.linear(hidden, weight, bias)
    log_chances = logits.log_softmax(dim=1, dtype=torch.promote_types(hidden.dtype, torch.float32))
    log_chance = log_chances.gather(1, label)
    if not wants_slope:
        return log_chance, None
    torch.exp(log_chances, out=logits)  # rounds to the logits' own precision at once
    return log_chance, logits.scatter_(1, label, log_chance.expm1().to(logits.dtype))


def _by_one_kernel(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, label: Tensor, _wants_slope: bool
) -> _LogChanceAndSlope:
    """Do the same as `_by_log_softmax` with fewer passes."""
    return _compiled_slope()(F.linear(hidden, weight, bias), label)


@cache
def _compiled_slope() -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return torch.compile(_slope)


def _slope(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    log_chances = logits.log_softmax(dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))
    is_label = torch.arange(logits.shape[1], device=logits.device) == label
    return log_chances.gather(1, label), (log_chances.exp() - is_label.to(log_chances.dtype)).to(logits.dtype)


_OfLogits = Callable[[Tensor, Tensor, Tensor | None, Tensor, bool], _LogChanceAndSlope]
_OF_LOGITS: dict[str, _OfLogits] = {"cpu": _by_softmax, "cuda": _by_log_softmax, "compiled": _by_one_kernel}
