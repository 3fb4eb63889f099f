"""Sequence parallelism: several ranks share each sample, and each holds a part of its tokens.

Embeddings, feed-forwards and normalisations need one token at a time. Attention needs all of them: there the ranks
exchange tokens for heads, so that each has all tokens of a part of the heads (Ulysses; Jacobs et al. 2023,
arXiv 2309.14509). Weights are the same on all ranks, as in data parallelism.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from apollo_ds.models.loss import IGNORED


@dataclass(frozen=True)
class SampleParts:
    """The ranks that share each sample, and which of its equal parts this one holds."""

    group: dist.ProcessGroup
    degree: int
    """How many ranks share a sample; it divides its tokens and the heads."""
    number: int
    """Which part is this rank's, from 0."""

    def own(self, tokens: Tensor) -> Tensor:
        """This rank's part (batch, tokens / degree) of what there is of all tokens (batch, tokens)."""
        return tokens.chunk(self.degree, dim=1)[self.number]

    def gather_tokens(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """All tokens of this rank's part of the heads.

        From tensors (batch, heads, tokens / degree, head size) to (batch, heads / degree, tokens, head size).
        """
        by_rank = [tensor.unflatten(1, (self.degree, -1)) for tensor in tensors]  # in one message
        received = self._exchange(torch.cat(by_rank, dim=2).movedim(1, 0))
        whole = received.movedim(0, 2).flatten(2, 3)
        return whole.split([part.shape[2] for part in by_rank], dim=1)

    def gather_heads(self, tensor: Tensor) -> Tensor:
        """All heads of this rank's part of the tokens.

        From (batch, tokens, heads / degree, head size) to (batch, tokens / degree, heads, head size).
        """
        received = self._exchange(tensor.unflatten(1, (self.degree, -1)).movedim(1, 0))
        return received.movedim(0, 2).flatten(2, 3)

    def gather_scored(self, hidden: Tensor, positions: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """This rank's equal share of the scored positions: their hidden states and labels.

        They fall unevenly into the parts of a sample, so each rank gets those of its share from wherever they are.
        From hidden states (batch, tokens / degree, hidden size) of this rank's tokens, and positions and labels
        (batch, scored) of whole samples, to (batch, share, hidden size) and (batch, share). Where the degree does not
        divide the scored positions, some labels are `IGNORED`.
        """
        missing = -positions.shape[1] % self.degree
        positions, labels = F.pad(positions, (0, missing)), F.pad(labels, (0, missing), value=IGNORED)
        inside = positions - self.number * hidden.shape[1]
        is_here = (inside >= 0) & (inside < hidden.shape[1])
        index = inside.clamp(0, hidden.shape[1] - 1).unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
        known = hidden.gather(1, index) * is_here.unsqueeze(-1)
        received = self._exchange(known.unflatten(1, (self.degree, -1)).movedim(1, 0))
        return received.sum(dim=0), self.own(labels)  # all but one of those that are added up are zeros

    def _exchange(self, by_rank: Tensor) -> Tensor:
        exchanged: Tensor = _Exchange.apply(by_rank, self.group)
        return exchanged


class _Exchange(torch.autograd.Function):
    """Item r of the first dimension goes to rank r of the group, and what comes from rank r takes its place."""

    @staticmethod
    def forward(ctx: Any, by_rank: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        sent = by_rank.contiguous()
        received = torch.empty_like(sent)
        dist.all_to_all_single(received, sent, group=group)
        return received

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        """Gradients go back the same way."""
        return _Exchange.apply(slope, ctx.group), None
