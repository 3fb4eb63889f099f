"""Parameters that hold several matrices or vectors in one: query, key and value; feed-forward units and their gates."""

from collections.abc import Sequence

import torch
from torch import Tensor

from apollo_ds.models.axes import Axis, Dimensions

_PARTS: dict[Axis, int] = {"qkv": 3, "qkv_by_head": 3, "gated": 2}


def _fused_position(dimensions: Dimensions) -> int | None:
    """The dimension along which the parts lie; None where there is one part only."""
    return next((i for i, d in enumerate(dimensions) if d is not None and d.axis in _PARTS), None)


def number_of_parts(dimensions: Dimensions) -> int:
    """How many matrices or vectors a parameter holds."""
    position = _fused_position(dimensions)
    return 1 if position is None else _PARTS[dimensions[position].axis]  # type: ignore[union-attr]


def split(weight: Tensor, dimensions: Dimensions, heads: int) -> Sequence[Tensor]:
    """Split a parameter of a model with `heads` heads into its parts."""
    position = _fused_position(dimensions)
    if position is None:
        return [weight]
    if not _is_by_head(dimensions, position):
        return weight.chunk(number_of_parts(dimensions), position)
    by_head = weight.unflatten(position, (heads, 3, -1)).unbind(position + 1)
    return [part.flatten(position, position + 1) for part in by_head]


def join(parts: Sequence[Tensor], dimensions: Dimensions, heads: int) -> Tensor:
    """Join parts into their parameter: the inverse of `split`."""
    position = _fused_position(dimensions)
    if position is None:
        return parts[0]
    if not _is_by_head(dimensions, position):
        return torch.cat(list(parts), position)
    by_head = [part.unflatten(position, (heads, -1)) for part in parts]
    return torch.stack(by_head, position + 1).flatten(position, position + 2)


def _is_by_head(dimensions: Dimensions, position: int) -> bool:
    dimension = dimensions[position]
    return dimension is not None and dimension.axis == "qkv_by_head"
