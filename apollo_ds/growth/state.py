"""Training state by name: what growth transforms, what a checkpoint holds, what export reads.

A state is a set of named parameters, each with its fp32 weight and Adam moments, of which a rank holds a slice.
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
    """Any place that whole parameters can be read from, one at a time."""

    counters: Counters

    def names(self) -> Iterator[str]:
        """Parameter names, in the model's order."""

    def shape(self, name: str) -> Shape:
        """The full shape of a parameter."""

    def gather(self, name: str, tensor: str, device: torch.device) -> Tensor:
        """One of the tensors that `counters.tensors` names of one parameter, in the parameter's full shape.

        All ranks must call it for the same tensors in the same order.
        """

    def release(self, name: str, tensor: str) -> None:
        """This tensor of this parameter will not be read again: its memory may go."""


class StoredState(State, Protocol):
    """A state on disk, of which a rank can read a part without the others."""

    def read_into(self, name: str, tensor: str, start: int, target: Tensor) -> None:
        """Read elements `start` to `start + len(target)` of a flattened parameter's tensor; zeros where it has none.

        `target` is contiguous, of the dtype that `dtype_of` says, on any device.
        """

    def close(self) -> None:
        """Close the files."""


@dataclass(frozen=True)
class Slice:
    """Elements start to start + length of a flattened parameter: CPU tensors of shape (length,).

    A parameter that does not train has its weight only; its moments are zero.
    """

    shape: Shape
    start: int
    tensors: dict[str, Tensor]


class ShardedState:
    """A state of which every rank holds its own slices in memory; each element is held by exactly one rank."""

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
        """The whole of a parameter's tensor, joined from the parts of all ranks. All ranks together.

        Raises:
            KeyError: it has been released.
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
    """So many elements on a device, of which each rank gives those from its own `start` on. All ranks together.

    Each element comes from one rank at most, and is 0 where it comes from none. Ranks add up what they have as whole
    numbers, which keeps every bit.
    """
    whole = torch.zeros(elements, dtype=part.dtype, device=device)
    whole.narrow(0, start, len(part)).copy_(part)
    if dist.get_world_size() > 1:
        bits = whole.view(torch.int32) if whole.dtype == torch.float32 else whole
        for chunk in bits.split(_ELEMENTS_AT_ONCE):  # the backend's own buffer is as large as what it sums
            dist.all_reduce(chunk)
    return whole
