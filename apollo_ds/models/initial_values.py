"""Fresh weights, one parameter at a time: the same to the bit as those of a model that `transformers` makes whole.

A model of many billion parameters need not fit anywhere in fp32. So each parameter is drawn when its turn comes, and
whoever takes it keeps what is theirs. The turns are those of `transformers`, whose classes say how a module is drawn
and in which order: a parameter may be drawn by its own module and again by the one around it.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights


def without_weights(kind: type[PreTrainedModel], config: PretrainedConfig, layers: int) -> PreTrainedModel:
    """A model of so many layers on the meta device, its weights not tied yet, its buffers filled, on the CPU.

    Its configuration keeps the depth that it had: by it, a family may scale what it draws.

    Raises:
        RuntimeError: the class leaves a buffer unfilled.
    """
    full_depth, config.num_hidden_layers = config.num_hidden_layers, layers
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
    """Name and value of each parameter of a model from `without_weights`: fp32, whole, on the CPU, new each time.

    Of those that are tied later, the one comes that stays. Between two values the caller must draw no random numbers.

    Raises:
        RuntimeError: the class leaves a parameter unfilled.
    """
    tied = model.all_tied_weights_keys
    turns = list(_turns(model, model))
    drawn = [_drawn_by(owner, module) for owner, module in turns]
    last_turn = {parameter: turn for turn, parameters in enumerate(drawn) for parameter in parameters}
    names = {parameter: name for name, parameter in model.named_parameters()}
    if unfilled := [name for parameter, name in names.items() if parameter not in last_turn]:
        raise RuntimeError(f"{type(model).__name__} does not say how its {unfilled[0]} is drawn")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for turn, (owner, module) in enumerate(turns):
            for parameter in drawn[turn]:
                if model.get_parameter(names[parameter]) is parameter:
                    _put(model, names[parameter], nn.Parameter(torch.empty(parameter.shape), requires_grad=False))
            owner._init_weights(module)
            for parameter in drawn[turn]:
                if last_turn[parameter] == turn:
                    name = names[parameter]
                    value = model.get_parameter(name).detach()
                    _put(model, name, parameter)
                    if name not in tied:
                        yield name, value
                    del value


def _turns(module: nn.Module, owner: PreTrainedModel) -> Iterator[tuple[PreTrainedModel, nn.Module]]:
    """Each module after those inside it, with the model that says how it is drawn."""
    for child in module.children():
        yield from _turns(child, child if isinstance(child, PreTrainedModel) else owner)
    yield owner, module


def _drawn_by(owner: PreTrainedModel, module: nn.Module) -> list[nn.Parameter]:
    """What is written when a module's turn comes: tried out on the meta device, which draws no numbers."""
    before = [(parameter, parameter._version) for parameter in module.parameters()]
    owner._init_weights(module)
    return [parameter for parameter, version in before if parameter._version != version]


def _put(model: PreTrainedModel, name: str, parameter: nn.Parameter) -> None:
    path, _, own_name = name.rpartition(".")
    model.get_submodule(path)._parameters[own_name] = parameter
