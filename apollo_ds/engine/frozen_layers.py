"""Layers that are frozen for one step. The step does not change them.

Where a layer has no gradient, DeepSpeed gives Adam zeros, so momentum and weight decay would still move the layer. So
the layer's slices are copied before the update and written back after it. The optimizer's step counter still increases:
the bias correction of the layer's moments counts the skipped steps too.
"""

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from apollo_ds.engine.layout import OwnedSlice


class FrozenLayers:
    """Copies this rank's slices of some layers before an optimizer step, and writes them back after it."""

    def __init__(self, slices_of: Callable[[int], list[OwnedSlice]]) -> None:
        """`slices_of` returns this rank's slices of the parameters of a layer."""
        self.layers: Collection[int] = ()
        self._slices_of = slices_of
        self._saved: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def put_aside(self) -> None:
        """Copy the slices of `layers`."""
        if self._saved:  # some optimizers step group by group, and call this for each
            return
        for layer in self.layers:
            for part in self._slices_of(layer):
                self._saved += [(tensor, tensor.clone()) for tensor in part.tensors.values()]

    @torch.no_grad()
    def put_back(self) -> None:
        """Write the copied slices back."""
        for tensor, saved in self._saved:
            tensor.copy_(saved)

    def forget(self) -> None:
        """Drop the copies at the end of the step."""
        self._saved.clear()
