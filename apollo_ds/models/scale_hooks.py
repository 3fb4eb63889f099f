"""Multiplies the outputs of a block's linear layers and normalisations by the scales of the position that runs.

Forward hooks do it, so the classes of `transformers` stay as they are. A scale is a tensor of one number, so that
compiled layers take any value without being compiled again.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from apollo_ds.models.depth_scale import PositionScales, scaled_modules
from apollo_ds.models.family import Family

_Scales = tuple[Tensor, Tensor]


class ScaleHooks:
    """The hooks of all blocks of a model, and the scales of the position at which one of them runs now."""

    def __init__(self, family: Family, model: nn.Module, scales_normalisations: bool) -> None:
        """Hook the blocks of a `transformers` model: layers that write branches and, if asked for, normalisations."""
        self.branches = self.normalisations = torch.ones(())
        names = (name for name, _ in model.named_parameters() if name.startswith(f"{family.blocks}."))
        writing, reading = scaled_modules(family, names)
        hooks = [(module, self._scale_branch) for module in writing]
        hooks += [(module, self._scale_normalisation) for module in reading if scales_normalisations]
        self._handles = [model.get_submodule(module).register_forward_hook(hook) for module, hook in hooks]

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()

    def place(self, scales: PositionScales, device: torch.device) -> None:
        """Make the next block run as at the position with these scales."""
        # The numbers are filled in on the device: a copy from the host could make it wait.
        self.branches = torch.full((), scales.branches, device=device)
        self.normalisations = torch.full((), scales.normalisations, device=device)

    def survive_recomputation(self, blocks: Iterable[nn.Module]) -> None:
        """Give checkpointed blocks, when the backward runs them again, the scales of the position at which they ran."""
        for block in blocks:
            own: Any = block
            own._gradient_checkpointing_func = partial(self._checkpoint, own._gradient_checkpointing_func)

    def _checkpoint(self, checkpoint: Callable[..., Any], function: Callable[..., Any], *inputs: Any) -> Any:
        if torch.compiler.is_compiling():  # there the scales are inputs of the graph, which computes again by itself
            return checkpoint(function, *inputs)
        return checkpoint(partial(self._run, (self.branches, self.normalisations), function), *inputs)

    def _run(self, scales: _Scales, function: Callable[..., Any], *inputs: Any) -> Any:
        self.branches, self.normalisations = scales
        return function(*inputs)

    def _scale_branch(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output * self.branches

    def _scale_normalisation(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output * self.normalisations
