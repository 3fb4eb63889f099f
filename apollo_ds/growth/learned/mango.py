"""Mango (Pan et al., NeurIPS 2023) at rank 1: all weights of all layers grow by one operator, a product of four cores.

T1[b, o, i, l] holds the h x h block b of layer l of the small model. T2, of the large model, is T1 multiplied by a core
along each of its four dimensions.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from apollo_ds.errors import UserError
from apollo_ds.growth.learned.operator import LearnedOperator, Tensors, combine, combine_flops, noisy_copy
from apollo_ds.growth.state import Shape
from apollo_ds.models.axes import Dimensions, axis_size
from apollo_ds.models.fused import join, number_of_parts, split
from apollo_ds.models.shape import ModelShape

_BLOCK, _LAYER, _OUT, _IN = ("core.block", "core.layer", "core.out", "core.in")
_STACK = "stack"
_NOISE = 0.03


@dataclass(frozen=True)
class Mango(LearnedOperator):
    """Grows the blocks of all layers together: query, key, value, output, and f/h blocks of each feed-forward matrix.

    f is the feed-forward size, h the hidden size. The layer and out cores alone map a vector, in pieces of h elements.
    The out and in cores alone map parameters outside of the layers. Before training, the operator stacks the layers and
    widens them by function-preserving growth, plus noise.

    Raises:
        UserError: the hidden size does not divide the feed-forward size, or matrices of heads are not square blocks.
    """

    operator_name: ClassVar[str] = "mango"
    mixes_all: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for shape in (self.old, self.new):
            if {axis_size(axis, shape) for axis in ("heads", "key_value")} != {shape.hidden_size}:
                raise UserError(
                    "method: mango cuts matrices into square blocks of the hidden size, which those of grouped heads "
                    "or of heads with a size of their own are not; use num_key_value_heads equal to num_heads, or "
                    "another method"
                )
            if shape.intermediate_size % shape.hidden_size:
                raise UserError(
                    f"method: mango cuts feed-forward matrices into square blocks; make intermediate_size "
                    f"{shape.intermediate_size} a multiple of hidden_size {shape.hidden_size}"
                )

    @cached_property
    def coefficient_shapes(self) -> dict[str, Shape]:
        """The four cores of the operator (Pan et al. 2023)."""
        hidden = (self.new.hidden_size, self.old.hidden_size)
        blocks = tuple(sum(self._all_blocks(kind, shape) for kind in self._matrices) for shape in (self.new, self.old))
        return {_BLOCK: blocks, _LAYER: (self.new_layers, self.old_layers), _OUT: hidden, _IN: hidden}

    def initial(self, name: str, seed: int) -> Tensor:
        """Return a core before training: it copies layers, blocks and units, with up to 3% noise a row.

        The weights that read a copied unit are divided by the number of its copies.
        """
        noise = self.noise(name, seed)
        new, old = noise.shape
        index, copies = self._tiled_blocks() if name == _BLOCK else _tiled(old, new)
        rows = noisy_copy(index, noise, _NOISE / old)
        return rows / copies.unsqueeze(1) if name in (_BLOCK, _IN) else rows

    def sources(self, name: str) -> tuple[str, ...]:
        """Name the old parameters and cores that make a parameter: all matrices of all old layers for a matrix."""
        layer, kind = self.place(name)
        cores = tuple(dict.fromkeys(core for core in self._cores(name) if core))
        if layer is None:
            return (name, *cores)
        if kind in self._matrices:
            return (*(old for kind in self._matrices for old in self.in_old_layers(kind)), _BLOCK, _LAYER, *cores)
        return (*self.in_old_layers(kind), _LAYER, *cores)

    def shared(self, tensors: Tensors) -> Tensors:
        """Return T1, as (old layers * old blocks, old h * old h); nothing if `tensors` does not hold its matrices."""
        names = [name for layer in zip(*map(self.in_old_layers, self._matrices), strict=True) for name in layer]
        if names[0] not in tensors:
            return {}
        return {_STACK: torch.cat([self._cut(name, tensors[name]) for name in names]).flatten(1)}

    def weight_from(self, name: str, tensors: Tensors, shared: Tensors) -> Tensor:
        """Contract the old weights with the cores."""
        layer, kind = self.place(name)
        cores = [tensors[core] if core else None for core in self._cores(name)]
        if layer is None:
            return combine([tensors[name]], None, cores)
        depth, hidden = tensors[_LAYER][layer], self.old.hidden_size
        if kind in self._matrices:
            first = sum(self._all_blocks(before, self.new) for before in self._matrices[: self._matrices.index(kind)])
            mixing = tensors[_BLOCK][first : first + self._all_blocks(kind, self.new)]
            mixing = (depth.unsqueeze(1) * mixing.unsqueeze(1)).flatten(1)
            blocks = (mixing @ shared[_STACK]).view(-1, hidden, hidden)
            return self._joined(name, tensors[_OUT] @ blocks @ tensors[_IN].T)
        if cores == [None]:
            return combine([tensors[old] for old in self.in_old_layers(kind)], depth, [])
        dimensions = self.dimensions(name)
        index, _ = _tiled(self._blocks(kind, self.old), self._blocks(kind, self.new))
        pieces = []
        for source in self.in_old_layers(kind):
            parts = split(tensors[source], dimensions, self.old.num_heads)
            pieces.append(torch.cat([part.view(-1, hidden)[index] for part in parts]))
        grown = combine(pieces, depth, [None, *cores]).chunk(number_of_parts(dimensions))
        return join([part.flatten() for part in grown], dimensions, self.new.num_heads)

    def making_flops(self) -> int:
        """Return the operations that make all weights once, two for each multiplication; backward included."""
        core = self.coefficient_shapes[_OUT]
        old = core[1]
        total = 0
        for name, shape in self.new_shapes.items():
            layer, kind = self.place(name)
            if layer is None:
                cores = [core for used in self._cores(name) if used]
                total += combine_flops(prod(self.old_shapes[name]), cores, learned=False) if len(shape) == 2 else 0
            else:
                blocks = self._all_blocks(kind, self.new)
                if kind in self._matrices:
                    mixed = self.old_layers * self.coefficient_shapes[_BLOCK][1]
                    total += 2 * (2 * blocks * mixed * old**2) + combine_flops(blocks * old**2, [core, core], True)
                elif any(self._cores(name)):
                    total += combine_flops(blocks * old, [core], True)
        return total

    @cached_property
    def _matrices(self) -> list[str]:
        """Names within a layer of the matrices that the blocks are cut from, in the order of the blocks."""
        placed = {self.place(name): shape for name, shape in self.new_shapes.items()}
        return [kind for (layer, kind), shape in placed.items() if layer == 0 and len(shape) == 2]

    def _cores(self, name: str) -> list[str | None]:
        """Name the core that maps each dimension of a parameter, or of its blocks; None for none."""
        sides = [dimension.side if dimension else None for dimension in self.dimensions(name)]
        return [None if side is None else _OUT if side == "out" else _IN for side in sides]

    def _blocks(self, kind: str, shape: ModelShape) -> int:
        """Return how many pieces of h elements each part of a layer's parameter has."""
        axes = {dimension.axis for dimension in self.dimensions(self.in_old_layers(kind)[0]) if dimension}
        return shape.intermediate_size // shape.hidden_size if axes & {"ffn", "gated"} else 1

    def _all_blocks(self, kind: str, shape: ModelShape) -> int:
        """Return how many pieces of h elements a layer's parameter has, all of its parts together."""
        return self._blocks(kind, shape) * number_of_parts(self.dimensions(self.in_old_layers(kind)[0]))

    def _tiled_blocks(self) -> tuple[list[int], Tensor]:
        """Return the old block that each new block copies, and by how many copies its weights are divided."""
        index: list[int] = []
        copies: list[Tensor] = []
        first = 0
        for kind in self._matrices:
            old, name = self._blocks(kind, self.old), self.in_old_layers(kind)[0]
            blocks, counts = _tiled(old, self._blocks(kind, self.new))
            consumes = self._cores(name)[_cut_position(self.dimensions(name))] == _IN
            for _ in range(number_of_parts(self.dimensions(name))):
                index += [first + block for block in blocks]
                copies.append(counts if consumes else torch.ones_like(counts))
                first += old
        return index, torch.cat(copies)

    def _cut(self, name: str, matrix: Tensor) -> Tensor:
        """Cut a matrix into its blocks; (blocks, out, in)."""
        dimensions = self.dimensions(name)
        parts = split(matrix, dimensions, self.old.num_heads)
        position = _cut_position(dimensions)
        blocks = torch.stack([block for part in parts for block in part.split(self.old.hidden_size, position)])
        return blocks if self._cores(name)[0] == _OUT else blocks.mT

    def _joined(self, name: str, blocks: Tensor) -> Tensor:
        """Join blocks (blocks, out, in) into their matrix."""
        dimensions = self.dimensions(name)
        blocks = blocks if self._cores(name)[0] == _OUT else blocks.mT
        parts = [torch.cat(list(part), _cut_position(dimensions)) for part in blocks.chunk(number_of_parts(dimensions))]
        return join(parts, dimensions, self.new.num_heads)


def _cut_position(dimensions: Dimensions) -> int:
    """Return the dimension along which the blocks of a parameter lie end to end."""
    axes = [dimension.axis if dimension else None for dimension in dimensions]
    cut = ("qkv", "qkv_by_head", "ffn", "gated")
    return next((position for position, axis in enumerate(axes) if axis in cut), 0)


def _tiled(old: int, new: int) -> tuple[list[int], Tensor]:
    """Return the old unit that each new unit copies, in tiled order, and the number of its copies; (new,)."""
    index = [unit % old for unit in range(new)]
    return index, torch.bincount(torch.tensor(index))[index]
