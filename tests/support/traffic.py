"""Counts the bytes that a rank hands to each collective operation, and those that it then sends in a ring."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import deepspeed.comm.comm as deepspeed_comm
import torch.distributed as dist
from torch import Tensor

_OF_TORCH = ("all_reduce", "broadcast", "reduce", "all_gather", "reduce_scatter", "all_to_all_single")
_OF_DEEPSPEED = ("all_gather_into_tensor", "reduce_scatter_tensor")
"""DeepSpeed took hold of torch's functions for these as it started, so they are counted at its own methods."""


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Bytes of the whole tensor of each collective operation of this rank, by the operation's name."""
    found: Counter[str] = Counter()
    places = [(dist, name) for name in _OF_TORCH] + [(deepspeed_comm.cdb, name) for name in _OF_DEEPSPEED]
    before = [(place, name, getattr(place, name)) for place, name in places]
    for place, name, original in before:
        setattr(place, name, _counting(original, name, found))
    try:
        yield found
    finally:
        for place, name, original in before:
            setattr(place, name, original)


def _counting(original: Any, name: str, found: Counter[str]) -> Any:
    def call(*arguments: Any, **options: Any) -> Any:
        tensors = [value for value in (*arguments, *options.values()) if isinstance(value, Tensor)]
        found[name] += max(tensor.nbytes for tensor in tensors)  # that which holds all ranks' parts, if there are two
        return original(*arguments, **options)

    return call


def sent(counts: Counter[str], ranks: int) -> float:
    """Bytes that a ring of ranks makes each of them send, by what it is known to take (see `planning.traffic`)."""
    ring = (ranks - 1) / ranks
    return ring * sum((2 if name == "all_reduce" else 1) * size for name, size in counts.items())
