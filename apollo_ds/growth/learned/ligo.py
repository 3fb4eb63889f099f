"""LiGO, the learned linear growth operator (Wang et al., ICLR 2023): B (sum_j w_j W_j) A^T for each weight W."""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from apollo_ds.errors import UserError
from apollo_ds.growth.learned.operator import LearnedOperator, Tensors, combine, combine_flops, noisy_copy
from apollo_ds.growth.state import Shape
from apollo_ds.models.axes import Dimension, axis_size
from apollo_ds.models.fused import join, number_of_parts, split

_NOISE = 0.03
_FUSED: dict[int, tuple[str, ...]] = {1: (), 2: ("unit", "gate"), 3: ("query", "key", "value")}
"""Names of the parts of a fused parameter, by their number."""
_ROLES = {"q_proj": "query", "k_proj": "key", "v_proj": "value"}
"""The part that a module makes, for modules whose names differ from it."""


class _Part(NamedTuple):
    """Names of the coefficients of one parameter, or of one part of a fused parameter."""

    depth: str | None
    widths: tuple[str | None, ...]
    """One name for each dimension; None for a dimension that does not grow."""


@dataclass(frozen=True)
class LiGO(LearnedOperator):
    """Learns how layers are mixed and how units are widened.

    Each kind of weight or bias has its own coefficients that mix the layers. Widening matrices are shared:
    - All parameters that read or write the residual stream use the matrix of the embedding.
    - Query, key, value and feed-forward units have one matrix each in each new layer. The weights that read them use
      the same matrix, so the attention output uses that of the value. If several heads share a value, the attention
      output has its own.
    - Feed-forward units and their gates share a matrix.
    - The units of BERT's head transform, and GPT-2's last normalisation, have their own matrices.

    A matrix keeps the old units, and only the rows of the new units are learned. If only the width or only the depth
    grows, only that is learned. The published code shares matrices in this way; the paper shares them by old layer. One
    choice of the published code is left out: it unties BERT's decoder from the embedding and widens it by a matrix of
    its own. Here they stay one tensor, as in the model that trains.

    Raises:
        UserError: neither the hidden size nor the depth grows.
    """

    operator_name: ClassVar[str] = "ligo"
    mixes_all: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.old.hidden_size == self.new.hidden_size and self.old_layers == self.new_layers:
            raise UserError("method: ligo learns growth of the hidden size or the depth; give a source that is smaller")

    @cached_property
    def coefficient_shapes(self) -> dict[str, Shape]:
        """`depth.KIND` (new layers, old layers) and `width.[LAYER.]UNITS` (units added, old units)."""
        found: dict[str, Shape] = {}
        for name in self.new_shapes:
            for part in self._parts(name):
                if part.depth:
                    found[part.depth] = (self.new_layers, self.old_layers)
                for width, dimension in zip(part.widths, self.dimensions(name), strict=True):
                    if width and dimension:
                        new, old = self._sizes(dimension)
                        found[width] = (new - old, old)
        return found

    def initial(self, name: str, seed: int) -> Tensor:
        """Return a coefficient before training: layers are stacked as in StackBERT, plus noise.

        New units are random averages of the old ones.
        """
        noise = self.noise(name, seed)
        if name.startswith("depth."):
            return noisy_copy([layer % self.old_layers for layer in range(self.new_layers)], noise, _NOISE)
        return noise / noise.sum(dim=1, keepdim=True)

    def sources(self, name: str) -> tuple[str, ...]:
        """Name the parameter's counterparts in the old layers, and the coefficients that combine them."""
        keys = [key for part in self._parts(name) for key in (part.depth, *part.widths) if key]
        return (*self._old_names(name), *dict.fromkeys(keys))

    def shared(self, tensors: Tensors) -> Tensors:
        """Return the widening matrices: each is the identity above the learned rows."""
        return {
            key: torch.cat([torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device), rows])
            for key, rows in tensors.items()
            if key.startswith("width.")
        }

    def weight_from(self, name: str, tensors: Tensors, shared: Tensors) -> Tensor:
        """Widen each old layer, then add them up with the coefficients of the depth."""
        layer, _ = self.place(name)
        parts, dimensions = self._parts(name), self.dimensions(name)
        old = [split(tensors[source], dimensions, self.old.num_heads) for source in self._old_names(name)]
        new = []
        for part, pieces in zip(parts, zip(*old, strict=True), strict=True):
            depth = tensors[part.depth][layer] if part.depth else None
            new.append(combine(pieces, depth, [shared[key] if key else None for key in part.widths]))
        return join(new, dimensions, self.new.num_heads)

    def making_flops(self) -> int:
        """Return the operations that make all weights once, two for each multiplication; backward included."""
        total = 0
        for name, shape in self.new_shapes.items():
            if len(shape) == 2:
                source = self._old_names(name)[0]
                sizes = [self._sizes(d) for d in self.dimensions(name) if d and self._grows(d)]
                total += combine_flops(prod(self.old_shapes[source]), sizes, learned=len(self._old_names(name)) > 1)
        return total

    def _old_names(self, name: str) -> tuple[str, ...]:
        layer, kind = self.place(name)
        return (name,) if layer is None or self.old_layers == self.new_layers else self.in_old_layers(kind)

    def _parts(self, name: str) -> list[_Part]:
        layer, kind = self.place(name)
        own = kind.rpartition(".")[0].rpartition(".")[2]
        modules = _FUSED[number_of_parts(self.dimensions(name))] or (_ROLES.get(own, own),)
        parts = []
        for module in modules:
            depth = f"depth.{kind}.{module}" if len(modules) > 1 else f"depth.{kind}"
            widths = tuple(self._width(layer, module, dimension) for dimension in self.dimensions(name))
            parts.append(_Part(depth if layer is not None and self.old_layers != self.new_layers else None, widths))
        return parts

    def _width(self, layer: int | None, module: str, dimension: Dimension | None) -> str | None:
        """Name the coefficient that widens a dimension of a module's parameter; None if it does not grow."""
        if dimension is None or not self._grows(dimension):
            return None
        if dimension.axis in ("heads", "key_value", "qkv", "qkv_by_head"):
            reads = "value" if self.new.key_value_heads == self.new.num_heads else "output"
            return f"width.{layer}.{reads if dimension.side == 'in' else module}"
        if dimension.axis in ("ffn", "gated"):
            return f"width.{layer}.ffn"
        return "width.final" if dimension == Dimension("embedding", "final") else f"width.{dimension.axis}"

    def _grows(self, dimension: Dimension) -> bool:
        new, old = self._sizes(dimension)
        return new != old

    def _sizes(self, dimension: Dimension) -> tuple[int, int]:
        """Return the new and the old number of units; in a fused parameter, those of one part."""
        parts = number_of_parts((dimension,))
        new, old = (axis_size(dimension.axis, shape) // parts for shape in (self.new, self.old))
        return new, old
