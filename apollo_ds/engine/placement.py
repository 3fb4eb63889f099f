"""Place a model's weights one at a time, so that no rank ever holds more than its ZeRO stage needs."""

from collections.abc import Callable
from typing import Any

import deepspeed
import torch
from deepspeed.utils import groups
from torch import Tensor, nn

from apollo_ds.engine.hardware import DTYPES
from apollo_ds.engine.malloc import return_at_once, trim_after
from apollo_ds.engine.options import EngineOptions
from apollo_ds.engine.processes import Processes
from apollo_ds.growth.counters import WEIGHT
from apollo_ds.growth.stage_model import TrainableModel
from apollo_ds.growth.state import Shape, Slice


def place_weights(
    model: TrainableModel, options: EngineOptions, processes: Processes, seed: int | None
) -> dict[str, Slice]:
    """Give a skeleton its weights, in the precision and on the device that it trains in. All ranks together.

    Under ZeRO 3 a rank keeps only its part of each parameter. All ranks take the values that the first rank draws,
    since processors differ in the last bits.

    Args:
        model: a skeleton, whose parameters take no memory yet.
        options: the precision and DeepSpeed's configuration.
        processes: all ranks.
        seed: the seed of fresh weights; None leaves all weights uninitialised. Parameters for which the model draws no
            values stay uninitialised in any case.
    Returns:
        This rank's share of each parameter that does not train.
    """
    if processes.device.type == "cpu":
        return_at_once()  # each whole parameter is freed before the next is drawn
    dtype = DTYPES[options.precision]
    part = _parting(options.config) if options.zero_stage == 3 else _whole
    names = {parameter: name for name, parameter in model.named_parameters()}
    frozen = {
        name: share_of(None, tuple(parameter.shape), processes)
        for parameter, name in names.items()
        if not parameter.requires_grad
    }
    for name, value in model.initial_values(seed) if seed is not None else ():
        parameter = model.get_parameter(name)
        parameter.data = value.to(processes.device, dtype)
        own_name = names.pop(parameter)
        if own_name in frozen:
            frozen[own_name] = share_of(value, tuple(value.shape), processes)
        part(parameter, True)
        elements = value.numel()
        del value  # so that it and the next one are never in memory together
        trim_after(elements)
    for parameter in names:
        parameter.data = torch.empty(parameter.shape, dtype=dtype, device=processes.device)
        part(parameter, False)
    model.to(processes.device)  # the buffers
    return frozen


def share_of(whole: Tensor | None, shape: Shape, processes: Processes) -> Slice:
    """This rank's equal share of a parameter that does not train, in fp32 on the CPU; zeros if `whole` is None.

    The model may hold the parameter in a lower precision.
    """
    elements = torch.Size(shape).numel()
    share = -(-elements // processes.world_size)
    start = min(elements, share * processes.rank)
    length = min(share, elements - start)
    if whole is None:
        return Slice(shape, start, {WEIGHT: torch.zeros(length)})
    return Slice(shape, start, {WEIGHT: whole.flatten().narrow(0, start, length).to("cpu", torch.float32, copy=True)})


def _whole(parameter: nn.Parameter, is_drawn: bool) -> None:
    """Do nothing. Up to ZeRO 2 all ranks hold all weights, and DeepSpeed sends them the first rank's."""


def _parting(config: dict[str, Any]) -> Callable[[nn.Parameter, bool], None]:
    """A function that reduces a whole parameter to this rank's part, as DeepSpeed 0.19.8 does for a whole model."""
    # The group of hpZ. The first engine makes it, and later ones reuse it.
    copied_within = groups._get_zero_param_intra_parallel_group()
    zero3 = deepspeed.zero.Init(module=nn.Module(), config_dict_or_path=config, zero_param_parallel_group=copied_within)

    def part(parameter: nn.Parameter, is_drawn: bool) -> None:
        if is_drawn:
            zero3._convert_to_zero_parameters([parameter])  # first sends the first rank's values to all
        else:
            zero3._convert_to_deepspeed_param(parameter)
            parameter.partition()  # type: ignore[attr-defined]

    return part
