"""Training state by name: what growth transforms, what a checkpoint holds, what export reads.

A state is a set of named parameters, each with its fp32 weight and Adam moments, of which a rank holds a slice.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

Shape = tuple[int, ...]
TENSORS = ("weight", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Counters:
    """The part of the training state that is not tensors."""

    adam_step: int = 0
    """Steps that Adam's moments have seen, for its bias correction."""
    loss_scaler: dict[str, float] = field(default_factory=dict)


class State(Protocol):
    """Any place that whole parameters can be read from, one at a time."""

    counters: Counters

    def names(self) -> Iterator[str]:
        """Parameter names, in the model's order."""

    def shape(self, name: str) -> Shape:
        """The full shape of a parameter."""

    def gather(self, name: str, device: torch.device) -> dict[str, Tensor]:
        """Weight, exp_avg and exp_avg_sq of one parameter, fp32, in its full shape.

        All ranks must call it for the same names in the same order.
        """


@dataclass(frozen=True)
class Slice:
    """Elements start to start + length of a flattened parameter: fp32 CPU tensors of shape (length,)."""

    shape: Shape
    start: int
    tensors: dict[str, Tensor]


class ShardedState:
    """A state of which every rank holds its own slices in memory; each element is held by exactly one rank."""

    def __init__(self, slices: dict[str, Slice], counters: Counters) -> None:
        self.slices = slices
        self.counters = counters

    def names(self) -> Iterator[str]:
        """See `State`."""
        return iter(self.slices)

    def shape(self, name: str) -> Shape:
        """See `State`."""
        return self.slices[name].shape

    def gather(self, name: str, device: torch.device) -> dict[str, Tensor]:
        """See `State`; one all-reduce of one parameter, exact because each element comes from one rank."""
        part = self.slices[name]
        whole = torch.zeros(len(TENSORS), torch.Size(part.shape).numel(), device=device)
        for row, key in zip(whole, TENSORS, strict=True):
            row.narrow(0, part.start, part.tensors[key].numel()).copy_(part.tensors[key])
        if dist.get_world_size() > 1:
            dist.all_reduce(whole)
        return {key: row.view(part.shape) for key, row in zip(TENSORS, whole, strict=True)}
