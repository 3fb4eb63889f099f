"""Draws fresh weights, one parameter at a time. They equal, to the bit, those of a whole model by `transformers`.

A model of many billion parameters may fit nowhere in fp32. So one parameter is drawn at a time, and each rank keeps its
part of it. The order is that of `transformers`, whose classes say how a module is drawn and when. A parameter may be
drawn by its own module, and again by the module around it.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights


def without_weights(kind: type[PreTrainedModel], config: PretrainedConfig, layers: int) -> PreTrainedModel:
    """Make a model of `layers` layers on the meta device. Its weights are not tied yet; its buffers are on the CPU.

    Its configuration has the full depth, by which a family may scale its weights and tell positions apart.

    Raises:
        RuntimeError: the class leaves a buffer unfilled.
    """
    full_depth = config.num_hidden_layers
    config.num_hidden_layers = layers
    with torch.device("meta"), no_init_weights():
        model = kind(config)
    config.num_hidden_layers = full_depth
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty_like(buffer, device="cpu")
    blank = {name: buffer._version for name, buffer in model.named_buffers()}
    for owner, module in _turns(model, model):
        owner._init_weights(module)
    if unfilled := [name for name, buffer in model.named_buffers() if buffer._version == blank[name]]:
        raise RuntimeError(f"{kind.__name__} does not say what its buffer {unfilled[0]} holds")
    return model


@torch.no_grad()
def initial_values(model: PreTrainedModel, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Yield name and value of each parameter of a model from `without_weights`: fp32, whole, on the CPU.

    Of parameters that are tied later, only the one that stays is yielded. The caller must draw no random numbers
    between two values.

    Raises:
        RuntimeError: the class leaves a parameter unfilled.
    """
    turns = list(_turns(model, model))
    names = {parameter: name for name, parameter in model.named_parameters()}
    used = [[names[parameter] for parameter in parameters] for parameters in _used_in(turns)]
    last_turn = {name: turn for turn, found in enumerate(used) for name in found}
    if never := [name for name in names.values() if name not in last_turn]:
        raise RuntimeError(f"{type(model).__name__} does not say how its {never[0]} is drawn")
    blank = {name: parameter for parameter, name in names.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for turn, (owner, module) in enumerate(turns):
            for name in used[turn]:
                if model.get_parameter(name) is blank[name]:
                    _put(
                        model,
                        name,
                        nn.Parameter(torch.full(blank[name].shape, math.nan, dtype=torch.float32), requires_grad=False),
                    )
            owner._init_weights(module)
            for name in used[turn]:
                if last_turn[name] == turn:
                    value = model.get_parameter(name).detach()
                    _put(model, name, blank[name])
                    if value.sum().isnan():
                        raise RuntimeError(f"{type(model).__name__} does not say how its {name} is drawn")
                    if name not in model.all_tied_weights_keys:
                        yield name, value
                    del value


def _turns(module: nn.Module, owner: PreTrainedModel) -> Iterator[tuple[PreTrainedModel, nn.Module]]:
    """Each module after those inside it, with the model that says how it is drawn."""
    for child in module.children():
        yield from _turns(child, child if isinstance(child, PreTrainedModel) else owner)
    yield owner, module


class _Watched(dict[str, nn.Parameter | None]):
    """A module's parameters. It notes which of them are read."""

    def __init__(self, parameters: Mapping[str, nn.Parameter | None], seen: dict[nn.Parameter, None]) -> None:
        super().__init__(parameters)
        self._seen = seen

    def __getitem__(self, name: str) -> nn.Parameter | None:
        return self._noted(super().__getitem__(name))

    def items(self) -> Any:
        """Names and parameters, each noted as seen."""
        return [(name, self._noted(parameter)) for name, parameter in super().items()]

    def _noted(self, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is not None:
            self._seen[parameter] = None
        return parameter


def _used_in(turns: list[tuple[PreTrainedModel, nn.Module]]) -> list[list[nn.Parameter]]:
    """Return the parameters that each turn reads, by a trial on the meta device, where nothing is drawn.

    The trial cannot tell whether a parameter is written, since some functions return at once.
    """
    used, seen = [], dict[nn.Parameter, None]()
    plain = {module: module._parameters for _, module in turns}
    for module, parameters in plain.items():
        module._parameters = _Watched(parameters, seen)
    for owner, module in turns:
        seen.clear()
        owner._init_weights(module)
        used.append(list(seen))
    for module, parameters in plain.items():
        module._parameters = parameters
    return used


def _put(model: PreTrainedModel, name: str, parameter: nn.Parameter) -> None:
    path, _, own_name = name.rpartition(".")
    model.get_submodule(path)._parameters[own_name] = parameter
