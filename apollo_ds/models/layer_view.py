"""A list of blocks that runs in the order of a layer map: this is how a shared layer runs several times."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from apollo_ds.models.layer_map import LayerMap


class LayerView(nn.ModuleList):
    """A list of unique blocks that iterates in the order of a layer map, so a block may run several times.

    Indexing and `len` see the unique blocks; only iteration, which is how the models run them, follows the map.
    """

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__(blocks)
        self.order: LayerMap = tuple(range(len(blocks)))
        self.scales: tuple[float, ...] = ()
        self.first_trained = 0

    def __iter__(self) -> Iterator[nn.Module]:
        """The blocks as they run, with gradients from position `first_trained` on."""
        for position, index in enumerate(self.order):
            if position == self.first_trained > 0:
                torch.set_grad_enabled(True)
            block, scale = self[index], self.scales[position] if self.scales else 1.0
            yield block if scale == 1.0 else cast(nn.Module, _Scaled(block, scale))


class _Scaled:
    """A block whose change to the hidden states is multiplied: x + scale (block(x) - x)."""

    def __init__(self, block: nn.Module, scale: float) -> None:
        self.block = block
        self.scale = scale

    def __call__(self, hidden: Tensor, *arguments: Any, **options: Any) -> Tensor:
        return torch.lerp(hidden, self.block(hidden, *arguments, **options), self.scale)
