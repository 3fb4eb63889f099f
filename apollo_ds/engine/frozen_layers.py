"""Layers that are frozen for a step: they are the same after it.

DeepSpeed hands Adam a gradient of zeros where there is none, so momentum and weight decay would move a layer that the
step has skipped. Its slices are put aside before the update and put back after it. Only the optimizer's step counter
goes on, so that the bias correction of a layer's moments counts the steps it has skipped too.
"""

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from apollo_ds.engine.layout import OwnedSlice


class FrozenLayers:
    """Puts aside and back this rank's slices of some layers around an optimizer step."""

    def __init__(self, slices_of: Callable[[int], list[OwnedSlice]]) -> None:
        """`slices_of` gives this rank's slices of the parameters of a layer."""
        self.layers: Collection[int] = ()
        self._slices_of = slices_of
        self._saved: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def put_aside(self) -> None:
        """Copy the slices of `layers`."""
        if self._saved:  # an optimizer that steps through its tensors in groups comes here for each
            return
        for layer in self.layers:
            for part in self._slices_of(layer):
                self._saved += [(tensor, tensor.clone()) for tensor in part.tensors.values()]

    @torch.no_grad()
    def put_back(self) -> None:
        """Write them back."""
        for tensor, saved in self._saved:
            tensor.copy_(saved)

    def forget(self) -> None:
        """The step is over."""
        self._saved.clear()
