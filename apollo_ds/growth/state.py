"""The training state: growth changes it, a checkpoint stores it, and export reads it.

A state is a set of named parameters, each with its fp32 weight and Adam moments. Each rank holds a slice of each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from apollo_ds.growth.counters import COHORT, Counters

Shape = tuple[int, ...]
_ELEMENTS_AT_ONCE = 1 << 24


def dtype_of(tensor: str) -> torch.dtype:
    """The number format of a tensor of the state: bytes for cohorts, fp32 for all others."""
    return torch.uint8 if tensor == COHORT else torch.float32


class State(Protocol):
    """A source of whole parameters, which are read one at a time."""

    counters: Counters

    def names(self) -> Iterator[str]:
        """Parameter names, in the model's order."""

    def shape(self, name: str) -> Shape:
        """The full shape of a parameter."""

    def gather(self, name: str, tensor: str, device: torch.device) -> Tensor:
        """Return one tensor of a parameter, in the parameter's full shape; `counters.tensors` lists the tensors.

        All ranks must call it for the same tensors in the same order.
        """

    def release(self, name: str, tensor: str) -> None:
        """Allow the state to free the memory of a parameter's tensor, since nobody will read it again."""


class StoredState(State, Protocol):
    """A state on disk. A rank can read a part of it without the other ranks."""

    def read_into(self, name: str, tensor: str, start: int, target: Tensor) -> None:
        """Read elements `start` to `start + len(target)` of a flattened parameter's tensor into `target`.

        `target` gets zeros where the parameter has no such tensor. It is contiguous, of the dtype that `dtype_of`
        gives, on any device.
        """

    def close(self) -> None:
        """Close the files."""


@dataclass(frozen=True)
class Slice:
    """Elements `start` to `start` + length of a flattened parameter: CPU tensors of shape (length,).

    A parameter that does not train has a weight only; its moments count as zero.
    """

    shape: Shape
    start: int
    tensors: dict[str, Tensor]


class ShardedState:
    """A state in the memory of all ranks: each rank holds its slices, and exactly one rank holds each element."""

    def __init__(self, slices: dict[str, Slice], counters: Counters) -> None:
        self.slices = slices
        self.counters = counters
        self._released: set[tuple[str, str]] = set()

    def names(self) -> Iterator[str]:
        """Every parameter that this rank holds a part of."""
        return iter(self.slices)

    def shape(self, name: str) -> Shape:
        """The shape of the whole parameter."""
        return self.slices[name].shape

    def gather(self, name: str, tensor: str, device: torch.device) -> Tensor:
        """Join a parameter's tensor from the parts of all ranks, in the parameter's full shape. All ranks must call it.

        Raises:
            KeyError: the tensor has been released.
        """
        if (name, tensor) in self._released:
            raise KeyError(f"{name}: its {tensor} has been released")
        part, elements = self.slices[name], torch.Size(self.slices[name].shape).numel()
        # What was frozen has a weight only.
        own = part.tensors.get(tensor, torch.empty(0, dtype=dtype_of(tensor)))
        return joined(own, part.start if len(own) else 0, elements, device).view(part.shape)

    def release(self, name: str, tensor: str) -> None:
        """Free this rank's part of a tensor; it cannot be gathered any more."""
        self.slices[name].tensors.pop(tensor, None)
        self._released.add((name, tensor))


def joined(part: Tensor, start: int, elements: int, device: torch.device) -> Tensor:
    """Join the ranks' parts into a vector of `elements` elements on a device. All ranks must call it.

    A rank's `part` begins at its `start`. At most one rank gives each element; elements that no rank gives are 0. The
    bits are added up as whole numbers, so that every bit is kept.
    """
    whole = torch.zeros(elements, dtype=part.dtype, device=device)
    whole.narrow(0, start, len(part)).copy_(part)
    if dist.get_world_size() > 1:
        bits = whole.view(torch.int32) if whole.dtype == torch.float32 else whole
        for chunk in bits.split(_ELEMENTS_AT_ONCE):  # the backend's own buffer is as large as what it sums
            dist.all_reduce(chunk)
    return whole
