"""The base class of learned growth operators: it has coefficients, and makes weights from them by pure functions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from apollo_ds.errors import UserError
from apollo_ds.growth.depth_and_width import width_between
from apollo_ds.growth.state import Shape
from apollo_ds.models.axes import Dimensions
from apollo_ds.models.families import family_of
from apollo_ds.models.pretraining import skeleton
from apollo_ds.models.shape import ModelShape
from apollo_ds.rng import Stream, uniform
from data_prep.counted import counted

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class LearnedOperator(ABC):
    """Makes the weights of `new_layers` layers of shape `new` from those of `old_layers` layers of shape `old`.

    Parameters have the names of `PretrainingModel`; names of coefficients begin with other words.

    Raises:
        UserError: the old model cannot grow into the new one.
    """

    operator_name: ClassVar[str]
    """The name of the operator in a stage."""
    mixes_all: ClassVar[bool]
    """Whether layers are mixed even if their number stays the same."""

    old: ModelShape
    old_layers: int
    new: ModelShape
    new_layers: int

    def __post_init__(self) -> None:
        width_between(self.old, self.new, "tiled", seed=0)  # raises where one cannot grow into the other
        family = family_of(self.new)
        if family.first_layer_is_unlike and (self.mixes_all or self.new_layers != self.old_layers):
            raise UserError(
                f"method: {self.operator_name} mixes all layers, and the first of a {self.new.family} lacks a part "
                "that the others have; use a method that copies layers, such as staged"
            )
        if self.new_layers < self.old_layers:
            raise UserError(f"method: a source of {counted(self.old_layers, 'layer')} cannot grow to {self.new_layers}")

    @property
    @abstractmethod
    def coefficient_shapes(self) -> dict[str, Shape]:
        """Name and shape of each trainable coefficient; all are matrices of shape (new, old)."""

    @abstractmethod
    def initial(self, name: str, seed: int) -> Tensor:
        """A coefficient before it is trained; fp32, the same for the same seed."""

    @abstractmethod
    def sources(self, name: str) -> tuple[str, ...]:
        """The old parameters and the coefficients that a new parameter is made from."""

    @abstractmethod
    def shared(self, tensors: Tensors) -> Tensors:
        """Compute once what several new parameters are made from; `tensors` may hold only some of the sources."""

    @abstractmethod
    def weight_from(self, name: str, tensors: Tensors, shared: Tensors) -> Tensor:
        """Make a new weight from its sources, in their dtype; the result is differentiable."""

    @abstractmethod
    def making_flops(self) -> int:
        """Return the operations of `weights` and of its backward to the coefficients, without products with vectors."""

    def weight(self, name: str, tensors: Tensors) -> Tensor:
        """Make one new weight from its sources."""
        return self.weight_from(name, tensors, self.shared(tensors))

    def weights(self, tensors: Tensors) -> Tensors:
        """Make all new weights from all old weights and all coefficients."""
        shared = self.shared(tensors)
        return {name: self.weight_from(name, tensors, shared) for name in self.new_shapes}

    @cached_property
    def old_shapes(self) -> dict[str, Shape]:
        """Name and shape of each of the old model's parameters."""
        return _parameter_shapes(self.old, self.old_layers)

    @cached_property
    def new_shapes(self) -> dict[str, Shape]:
        """Name and shape of each of the new model's parameters."""
        return _parameter_shapes(self.new, self.new_layers)

    @property
    def trains_embeddings(self) -> bool:
        """Whether some parameter outside of the layers depends on coefficients."""
        outside = (name for name in self.new_shapes if self.place(name)[0] is None)
        return any(source in self.coefficient_shapes for name in outside for source in self.sources(name))

    def place(self, name: str) -> tuple[int | None, str]:
        """The layer of a parameter, None outside of the blocks, and its name within the layer."""
        blocks = f"model.{family_of(self.new).blocks}."
        if not name.startswith(blocks):
            return None, name
        layer, _, kind = name.removeprefix(blocks).partition(".")
        return int(layer), kind

    def in_old_layers(self, kind: str) -> tuple[str, ...]:
        """The parameter of this name within each old layer."""
        return tuple(f"model.{family_of(self.old).blocks}.{i}.{kind}" for i in range(self.old_layers))

    def dimensions(self, name: str) -> Dimensions:
        """What the dimensions of a parameter mean."""
        return family_of(self.new).dimensions(name)

    def noise(self, name: str, seed: int) -> Tensor:
        """Uniform numbers in [0, 1) of a coefficient's shape, fp32."""
        size = torch.Size(self.coefficient_shapes[name])
        number = list(self.coefficient_shapes).index(name)
        numbers = uniform(seed, Stream.GROWTH, number, np.arange(size.numel()))
        return torch.from_numpy(numbers).float().view(size)


def _parameter_shapes(shape: ModelShape, layers: int) -> dict[str, Shape]:
    return {name: tuple(parameter.shape) for name, parameter in skeleton(shape, layers).named_parameters()}


def combine(old: Sequence[Tensor], depth: Tensor | None, widths: Sequence[Tensor | None]) -> Tensor:
    """Mix layers, sum_j depth[j] old[j], then multiply by a matrix along each dimension that has one.

    `depth` has shape (old layers,); None takes `old[0]`. A matrix in `widths` has shape (new size, old size). A weight
    has at most two dimensions.
    """
    result = old[0] if depth is None else reduce(torch.add, (c * w for c, w in zip(depth, old, strict=True)))
    for position, matrix in enumerate(widths):
        if matrix is not None:
            result = matrix @ result if position == 0 else result @ matrix.T
    return result


def combine_flops(elements: int, matrices: Sequence[Shape], learned: bool) -> int:
    """Return the operations of the matrices in `combine` on so many elements, with the backward to each matrix.

    `learned` says whether the elements need gradients, too; they always do after the first matrix.
    """
    total = 0
    for new, old in matrices:
        elements = elements // old * new
        total += 2 * elements * old * (3 if learned else 2)
        learned = True
    return total


def noisy_copy(index: Sequence[int], noise: Tensor, scale: float) -> Tensor:
    """Return a matrix whose row i copies the old unit `index[i]`, plus `scale` times `noise`; each row sums to 1."""
    rows = noise * scale
    rows[torch.arange(len(index)), torch.tensor(index)] = 1.0
    return rows / rows.sum(dim=1, keepdim=True)
