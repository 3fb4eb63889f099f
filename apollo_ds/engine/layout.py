"""Where DeepSpeed keeps the fp32 weights and Adam moments of each parameter that a rank owns.

At every ZeRO stage and precision, what a rank owns of a parameter is one contiguous run of its flattened elements,
which lies in one contiguous run of some fp32 tensor. Only where that tensor is differs (DeepSpeed 0.19.8).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from mmap import MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from apollo_ds.growth.counters import COHORT, MOMENTS, WEIGHT

_FP32_BYTES = 4


@dataclass(frozen=True)
class OwnedSlice:
    """This rank's part of one parameter.

    `tensors` maps weight, exp_avg, exp_avg_sq and, where there are several, cohort to views of shape (length,) into
    the optimizer's own memory: elements start to start + length of the flattened parameter.
    """

    start: int
    tensors: dict[str, Tensor]

    @property
    def length(self) -> int:
        """Number of elements owned; 0 where other ranks own all of the parameter."""
        return self.tensors[WEIGHT].numel()


@dataclass(frozen=True)
class _Location:
    """Elements start... of a parameter are elements offset ... offset + length of `flat`."""

    start: int
    flat: Tensor
    offset: int
    length: int


def adam(engine: Any) -> torch.optim.Optimizer:
    """The Adam inside DeepSpeed's optimizer wrapper."""
    optimizer = engine.optimizer
    return optimizer if isinstance(optimizer, torch.optim.Optimizer) else optimizer.optimizer


def is_replicated(engine: Any) -> bool:
    """Whether every rank holds the whole state (ZeRO 0)."""
    return engine.zero_optimization_stage() == 0


def flat_tensors(engine: Any) -> list[Tensor]:
    """The fp32 tensors that Adam updates on this rank, without empty ones."""
    optimizer = engine.optimizer
    if engine.zero_optimization_stage() == 3:
        flats = list(optimizer.fp32_partitioned_groups_flat)
    elif hasattr(optimizer, "single_partition_of_fp32_groups"):
        flats = list(optimizer.single_partition_of_fp32_groups)
    elif hasattr(optimizer, "fp32_groups_flat_partition"):
        flats = list(optimizer.fp32_groups_flat_partition)
    else:
        flats = [parameter for group in adam(engine).param_groups for parameter in group["params"]]
    return [flat for flat in flats if flat.numel()]


def full_shape(parameter: Tensor) -> tuple[int, ...]:
    """The shape of a parameter, also where ZeRO-3 holds only a part of it."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def owned_slices(engine: Any, cohorts: dict[Tensor, Tensor]) -> Iterator[tuple[str, tuple[int, ...], OwnedSlice]]:
    """Name, full shape and this rank's slice of each trainable parameter.

    `cohorts` maps a flat tensor to the cohort of each of its elements, where there are several. The views are valid
    until the engine is closed; moments are there once `prime` has run.
    """
    locations = _locations(engine)
    state = adam(engine).state
    for name, parameter in engine.module.named_parameters():
        if not parameter.requires_grad:
            continue
        location = locations.get(parameter)
        if location is None:
            nothing = {**dict.fromkeys((WEIGHT, *MOMENTS), torch.empty(0)), COHORT: torch.empty(0, dtype=torch.uint8)}
            yield name, full_shape(parameter), OwnedSlice(0, nothing)
            continue
        whole = {WEIGHT: location.flat.detach(), **{key: state[location.flat][key] for key in MOMENTS}}
        if location.flat in cohorts:
            whole[COHORT] = cohorts[location.flat]
        tensors = {key: tensor.view(-1).narrow(0, location.offset, location.length) for key, tensor in whole.items()}
        yield name, full_shape(parameter), OwnedSlice(location.start, tensors)


def _locations(engine: Any) -> dict[Tensor, _Location]:
    optimizer = engine.optimizer
    if engine.zero_optimization_stage() == 3:
        return _zero3_locations(optimizer)
    if hasattr(optimizer, "single_partition_of_fp32_groups"):
        return _fragment_locations(optimizer.bit16_groups, optimizer.single_partition_of_fp32_groups)
    if hasattr(optimizer, "fp32_groups_flat_partition"):
        return _fragment_locations(optimizer.bf16_groups, optimizer.fp32_groups_flat_partition)
    if isinstance(optimizer, torch.optim.Optimizer):
        return {
            parameter: _Location(0, parameter, 0, parameter.numel())
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
    return {
        parameter: _Location(0, master, 0, master.numel())
        for parameters, masters in zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True)
        for parameter, master in zip(parameters, masters, strict=True)
    }


def _fragment_locations(groups: list[list[Tensor]], flats: list[Tensor]) -> dict[Tensor, _Location]:
    """ZeRO 1 and 2, and the bf16 optimizer: DeepSpeed notes on each parameter which fragment this rank has."""
    locations = {}
    for parameters, flat in zip(groups, flats, strict=True):
        for parameter in parameters:
            fragment = parameter._hp_mapping  # type: ignore[attr-defined]
            if fragment is not None:
                inside = fragment.hp_fragment_address
                locations[parameter] = _Location(fragment.lp_fragment_address.start, flat, inside.start, inside.numel)
    return locations


def _zero3_locations(optimizer: Any) -> dict[Tensor, _Location]:
    """ZeRO 3: equal parts of every parameter, the last one padded."""
    locations = {}
    for parameters in optimizer.fp16_groups:
        for parameter in parameters:
            group, offset, padded = optimizer.grad_position[optimizer.get_param_id(parameter)]
            start = padded * optimizer._get_param_partition_rank(parameter)
            length = min(padded, parameter.ds_numel - start)
            if length > 0:
                locations[parameter] = _Location(start, optimizer.fp32_partitioned_groups_flat[group], offset, length)
    return locations


@torch.no_grad()
def prime(engine: Any) -> None:
    """Create the state that torch's AdamW would create at its first step, at step 0, where there is none yet."""
    inner = adam(engine)
    for flat in flat_tensors(engine):
        if not inner.state.get(flat):
            inner.state[flat] = {
                "step": torch.zeros((), dtype=torch.float32, device=flat.device),
                **{key: _zeros_like(flat) for key in MOMENTS},
            }


@torch.no_grad()
def forget_gradients(engine: Any) -> None:
    """Clear what is left of the last step's gradients, which would count in the norm where a parameter gets none now.

    ZeRO 3 keeps them in a buffer that only new ones overwrite; with offload, ZeRO keeps their norms.
    """
    buffer = getattr(engine.optimizer, "grad_partitions_flat_buffer", None)
    if buffer is not None:
        buffer.zero_()
    getattr(engine.optimizer, "norm_for_param_grads", {}).clear()


@torch.no_grad()
def write_frozen(parameter: Any, whole: Tensor, rank: int) -> None:
    """Give a parameter that is not trained its weight, of the full shape."""
    if not hasattr(parameter, "ds_tensor"):
        parameter.data.copy_(whole)
        return
    part = parameter.ds_tensor.data.view(-1)  # ZeRO 3: equal parts, the last one padded
    own = whole.flatten()[part.numel() * rank :][: part.numel()]
    part[: own.numel()].copy_(own)


def _zeros_like(flat: Tensor) -> Tensor:
    """Zeros. On a CPU they are pages that take up memory only when written, whatever has been freed before."""
    if flat.device.type != "cpu":
        return torch.zeros_like(flat)
    pages = mmap(-1, flat.numel() * _FP32_BYTES, flags=MAP_PRIVATE | MAP_ANONYMOUS)
    pages.madvise(MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=torch.float32).view(flat.shape).to(flat.dtype)


def adam_step(engine: Any) -> int:
    """Adam's step counter, which its bias correction uses."""
    return max(int(adam(engine).state[flat]["step"]) for flat in flat_tensors(engine))


def set_adam_step(engine: Any, step: int) -> None:
    """Set the counter of every tensor."""
    for flat in flat_tensors(engine):
        adam(engine).state[flat]["step"].fill_(step)


@torch.no_grad()
def refresh_weights(engine: Any) -> None:
    """Write the fp32 weights into the weights that the forward uses, on every rank."""
    optimizer = engine.optimizer
    if engine.zero_optimization_stage() == 3:
        for parameter in engine.module.parameters():
            parameter.ds_secondary_tensor = None  # hpZ's copy, within a group of ranks, of what the weights were
        optimizer._partition_all_parameters()
        for group in range(len(optimizer.fp16_groups)):
            optimizer._reassign_or_swap_out_partitioned_parameters(group)
        if optimizer.persistent_parameters:
            optimizer.persistent_parameters[0].all_gather(optimizer.persistent_parameters)
    elif hasattr(optimizer, "single_partition_of_fp32_groups"):
        for group in range(len(optimizer.bit16_groups)):
            _spread_weights(optimizer, group)
            optimizer._update_model_bit16_weights(group)
    elif hasattr(optimizer, "fp32_groups_flat_partition"):
        optimizer.update_lp_params()
    elif not isinstance(optimizer, torch.optim.Optimizer):
        for parameters, masters in zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True):
            for parameter, master in zip(parameters, masters, strict=True):
                parameter.data.copy_(master.data)


def _spread_weights(optimizer: Any, group: int) -> None:
    """Give every rank all partitions of a parameter group, at ZeRO 1 and 2.

    One after another, each into its place: DeepSpeed's own `update_lp_params` gathers them all at once, for which gloo
    takes a second copy of the model.
    """
    processes = optimizer.real_dp_process_group[group]
    partitions = optimizer.parallel_partitioned_bit16_groups[group]
    partitions[dist.get_rank(processes)].data.copy_(optimizer.single_partition_of_fp32_groups[group].data)
    for rank, partition in enumerate(partitions):
        dist.broadcast(partition.data, dist.get_global_rank(processes, rank), processes)
