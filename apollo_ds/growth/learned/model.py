"""The model of a learning stage: it trains an operator's coefficients by the loss of the large network."""

from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from apollo_ds.growth.learned.operator import LearnedOperator
from apollo_ds.models.layer_map import LayerMap
from apollo_ds.models.pretraining import PretrainingModel, skeleton, without_memory
from apollo_ds.models.sample_parts import SampleParts


def flat_name(name: str) -> str:
    """Return the name of a parameter in the learning model, without the dots that stand for submodules."""
    return name.replace(".", "__")


class LearnedGrowthModel(nn.Module):
    """Takes the place of a `PretrainingModel` while its growth is learned, and has the same `forward`.

    Its parameters are the operator's coefficients, which train, and the small model's weights, which do not. All of
    them belong to this module and not to a submodule. So ZeRO 3 gathers all of them for the forward, which makes the
    large weights. Parameters take no memory until they get values: coefficients get fresh or saved values, and the
    small weights get those of a state.
    """

    grown: PretrainingModel
    """The large network: not a submodule, and without weights of its own."""

    def __init__(self, operator: LearnedOperator) -> None:
        super().__init__()
        self.operator = operator
        self.shape = operator.new
        for name, shape in operator.coefficient_shapes.items():
            self.register_parameter(flat_name(name), without_memory(shape))
        for name, shape in operator.old_shapes.items():
            self.register_parameter(flat_name(name), without_memory(shape, trains=False))
        grown = skeleton(operator.new, operator.new_layers)
        for parameter in grown.parameters():
            parameter.data = torch.empty(0)
        object.__setattr__(self, "grown", grown)
        self.family = grown.family

    def initial_values(self, seed: int) -> Iterator[tuple[str, Tensor]]:
        """Yield each coefficient's name in this model and its value before training."""
        for name in self.operator.coefficient_shapes:
            yield flat_name(name), self.operator.initial(name, seed)

    @property
    def unique_layers(self) -> int:
        """How many blocks the large network has."""
        return self.operator.new_layers

    def run_in_order(self, layer_map: LayerMap, *how: Any, **further: Any) -> None:
        """Set the order in which the large network runs its layers."""
        self.grown.run_in_order(layer_map, *how, **further)

    def share_samples(self, parts: SampleParts | None) -> None:
        """Set which part of each sample the large network sees on this rank."""
        self.grown.share_samples(parts)

    def large_weights(self) -> dict[str, Tensor]:
        """The weights of the large network, by the names of `PretrainingModel`."""
        names = (*self.operator.coefficient_shapes, *self.operator.old_shapes)
        return self.operator.weights({name: self.get_parameter(flat_name(name)) for name in names})

    def forward(self, *batch: Tensor) -> Tensor:
        """The loss of the large network, with weights made from the coefficients."""
        return functional_call(self.grown, self.large_weights(), batch)

    def train(self, mode: bool = True) -> Self:
        """Set the large network's mode, too."""
        self.grown.train(mode)
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.grown._apply(fn, recurse)  # its buffers move along
        return super()._apply(fn, recurse)
