"""What a learned growth operator is: coefficients, and the weights that follow from them. Pure functions of tensors."""

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

    Parameters go by the names of `PretrainingModel`; names of coefficients begin otherwise.

    Raises:
        UserError: the old model cannot grow to the new one.
    """

    operator_name: ClassVar[str]
    """What a stage calls it."""
    mixes_all: ClassVar[bool]
    """Whether layers are mixed also where their number stays the same."""

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
        """What several new parameters are made from, computed once; `tensors` may be some of the sources only."""

    @abstractmethod
    def weight_from(self, name: str, tensors: Tensors, shared: Tensors) -> Tensor:
        """A new weight, differentiable in its sources, in their dtype."""

    @abstractmethod
    def making_flops(self) -> int:
        """Operations of `weights` and of its backward to the coefficients; products with vectors are not counted."""

    def weight(self, name: str, tensors: Tensors) -> Tensor:
        """A new weight from its sources."""
        return self.weight_from(name, tensors, self.shared(tensors))

    def weights(self, tensors: Tensors) -> Tensors:
        """All new weights from all old ones and all coefficients."""
        shared = self.shared(tensors)
        return {name: self.weight_from(name, tensors, shared) for name in self.new_shapes}

    @cached_property
    def old_shapes(self) -> dict[str, Shape]:
        """The old model's parameters."""
        return _parameter_shapes(self.old, self.old_layers)

    @cached_property
    def new_shapes(self) -> dict[str, Shape]:
        """The new model's parameters."""
        return _parameter_shapes(self.new, self.new_layers)

    @property
    def trains_embeddings(self) -> bool:
        """Whether what lies outside of the layers depends on coefficients."""
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
    """The linear map of depth and width: sum_j depth[j] old[j], then a matrix along each dimension that has one.

    `depth` has shape (old layers,), None to take `old[0]`; a matrix has shape (new size, old size). A weight has at
    most two dimensions.
    """
    result = old[0] if depth is None else reduce(torch.add, (c * w for c, w in zip(depth, old, strict=True)))
    for position, matrix in enumerate(widths):
        if matrix is not None:
            result = matrix @ result if position == 0 else result @ matrix.T
    return result


def combine_flops(elements: int, matrices: Sequence[Shape], learned: bool) -> int:
    """Operations of the matrices in `combine` on so many elements, and of the backward, which each matrix needs.

    `learned` says whether the elements need gradients too, as they do after the first matrix.
    """
    total = 0
    for new, old in matrices:
        elements = elements // old * new
        total += 2 * elements * old * (3 if learned else 2)
        learned = True
    return total


def noisy_copy(index: Sequence[int], noise: Tensor, scale: float) -> Tensor:
    """Row i copies the old unit `index[i]`, plus noise of this scale, and sums to 1; shaped like `noise`."""
    rows = noise * scale
    rows[torch.arange(len(index)), torch.tensor(index)] = 1.0
    return rows / rows.sum(dim=1, keepdim=True)
