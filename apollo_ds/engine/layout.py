"""Find the places where DeepSpeed keeps the fp32 weights and Adam moments that a rank owns.

At every ZeRO stage and precision, a rank owns one contiguous run of the flattened elements of a parameter. The run lies
in one contiguous run of an fp32 tensor. The stages differ only in the place of that tensor (DeepSpeed 0.19.8).
"""

from collections.abc import Iterator, Sequence
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

    `tensors` has the keys weight, the optimizer's moments and, if there are several cohorts, cohort. Its values are
    views of shape (length,) into the optimizer's own memory: elements start to start + length of the flattened
    parameter.
    """

    start: int
    tensors: dict[str, Tensor]

    @property
    def length(self) -> int:
        """The number of elements that this rank owns; 0 if other ranks own the whole parameter."""
        return self.tensors[WEIGHT].numel()


@dataclass(frozen=True)
class FlatGroup:
    """Parameters, in order, that the optimizer updates together."""

    parameters: Sequence[Tensor]
    flat: Tensor
    """This rank's part of them in fp32, as the optimizer sees it. Without ZeRO it is a single parameter in its
    shape."""
    options: dict[str, Any]
    """The optimizer's options for these parameters."""

    @property
    def moments(self) -> tuple[str, ...]:
        """The names of the moments that the optimizer keeps. Muon has only the first moment."""
        return MOMENTS[:1] if self.options.get("use_muon") else MOMENTS


@dataclass(frozen=True)
class Location:
    """Elements start to start + length of a flattened parameter are elements offset to offset + length of `flat`."""

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


def flat_groups(engine: Any) -> list[FlatGroup]:
    """The groups that the optimizer updates, in its order. All ranks have the same groups, each with its own part."""
    optimizer, options = engine.optimizer, adam(engine).param_groups
    if engine.zero_optimization_stage() == 3:
        number_of = optimizer.sub_group_to_group_id
        parts = zip(optimizer.fp16_groups, optimizer.fp32_partitioned_groups_flat, strict=True)
        return [FlatGroup(parameters, flat, options[number_of[i]]) for i, (parameters, flat) in enumerate(parts)]
    if hasattr(optimizer, "single_partition_of_fp32_groups"):
        return list(map(FlatGroup, optimizer.bit16_groups, optimizer.single_partition_of_fp32_groups, options))
    if hasattr(optimizer, "fp32_groups_flat_partition"):
        return list(map(FlatGroup, optimizer.bf16_groups, optimizer.fp32_groups_flat_partition, options))
    plain = isinstance(optimizer, torch.optim.Optimizer)
    models = [group["params"] for group in options] if plain else optimizer.fp16_groups
    masters = models if plain else optimizer.fp32_groups
    return [
        FlatGroup([parameter], master, group)
        for parameters, flats, group in zip(models, masters, options, strict=True)
        for parameter, master in zip(parameters, flats, strict=True)
    ]


def flat_tensors(engine: Any) -> list[Tensor]:
    """The fp32 tensors that the optimizer updates on this rank, without empty ones."""
    return [group.flat for group in flat_groups(engine) if group.flat.numel()]


def full_shape(parameter: Tensor) -> tuple[int, ...]:
    """The full shape of a parameter, even if ZeRO 3 holds only a part of it here."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def owned_slices(
    engine: Any, groups: Sequence[FlatGroup], cohorts: dict[Tensor, Tensor]
) -> Iterator[tuple[str, tuple[int, ...], OwnedSlice]]:
    """The name, the full shape and this rank's slice of each trainable parameter.

    `groups` are the engine's `flat_groups`. They are given, since DeepSpeed hides some from the optimizer during a
    step. `cohorts` maps a flat tensor to the cohort numbers of its elements, if there are several cohorts. The views
    are valid until the engine is closed. Moments exist once `prime` has run.
    """
    places = locations(engine, groups)
    state = adam(engine).state
    moments = {parameter: group.moments for group in groups for parameter in group.parameters}
    for name, parameter in engine.module.named_parameters():
        if not parameter.requires_grad:
            continue
        keys, location = moments[parameter], places.get(parameter)
        if location is None:
            nothing = {**dict.fromkeys((WEIGHT, *keys), torch.empty(0)), COHORT: torch.empty(0, dtype=torch.uint8)}
            yield name, full_shape(parameter), OwnedSlice(0, nothing)
            continue
        whole = {WEIGHT: location.flat.detach(), **{key: state[location.flat][key] for key in keys}}
        if location.flat in cohorts:
            whole[COHORT] = cohorts[location.flat]
        tensors = {key: tensor.view(-1).narrow(0, location.offset, location.length) for key, tensor in whole.items()}
        yield name, full_shape(parameter), OwnedSlice(location.start, tensors)


def locations(engine: Any, groups: Sequence[FlatGroup]) -> dict[Tensor, Location]:
    """The place of this rank's part of each parameter of the groups. Parameters without a part here are left out."""
    optimizer = engine.optimizer
    if engine.zero_optimization_stage() == 3:
        return _zero3_locations(optimizer)
    if hasattr(optimizer, "single_partition_of_fp32_groups") or hasattr(optimizer, "fp32_groups_flat_partition"):
        return _fragment_locations(groups)
    return {group.parameters[0]: Location(0, group.flat, 0, group.flat.numel()) for group in groups}


def _fragment_locations(groups: Sequence[FlatGroup]) -> dict[Tensor, Location]:
    """At ZeRO 1 and 2, and for the bf16 optimizer: DeepSpeed notes this rank's fragment on each parameter."""
    found = {}
    for group in groups:
        for parameter in group.parameters:
            fragment = parameter._hp_mapping  # type: ignore[attr-defined]
            if fragment is not None:
                inside = fragment.hp_fragment_address
                found[parameter] = Location(fragment.lp_fragment_address.start, group.flat, inside.start, inside.numel)
    return found


def _zero3_locations(optimizer: Any) -> dict[Tensor, Location]:
    """At ZeRO 3: every parameter is split into equal parts, of which the last is padded."""
    locations = {}
    for parameters in optimizer.fp16_groups:
        for parameter in parameters:
            group, offset, padded = optimizer.grad_position[optimizer.get_param_id(parameter)]
            start = padded * optimizer._get_param_partition_rank(parameter)
            length = min(padded, parameter.ds_numel - start)
            if length > 0:
                locations[parameter] = Location(start, optimizer.fp32_partitioned_groups_flat[group], offset, length)
    return locations


@torch.no_grad()
def prime(engine: Any) -> None:
    """Create now the optimizer state that would be created at the first step, unless it exists."""
    inner = adam(engine)
    for group in flat_groups(engine):
        if group.flat.numel() and not inner.state.get(group.flat):
            inner.state[group.flat] = {
                "step": torch.zeros((), dtype=torch.float32, device=group.flat.device),
                **{key: _zeros_like(group.flat) for key in group.moments},
            }


@torch.no_grad()
def forget_gradients(engine: Any) -> None:
    """Clear the last step's gradients. Else they would count in the norm if a parameter gets no gradient in this step.

    ZeRO 3 keeps them in a buffer that only new gradients overwrite. With offload, ZeRO keeps their norms.
    """
    buffer = getattr(engine.optimizer, "grad_partitions_flat_buffer", None)
    if buffer is not None:
        buffer.zero_()
    getattr(engine.optimizer, "norm_for_param_grads", {}).clear()


@torch.no_grad()
def write_frozen(parameter: Any, whole: Tensor, rank: int) -> None:
    """Set the weight of a parameter that does not train. `whole` has its full shape."""
    if not hasattr(parameter, "ds_tensor"):
        parameter.data.copy_(whole)
        return
    part = parameter.ds_tensor.data.view(-1)  # ZeRO 3: equal parts, the last is padded
    own = whole.flatten()[part.numel() * rank :][: part.numel()]
    part[: own.numel()].copy_(own)


def _zeros_like(flat: Tensor) -> Tensor:
    """Zeros in the form of `flat`. On a CPU their pages take up memory only when they are written."""
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
    """Copy the fp32 weights into the weights that the forward pass uses, on every rank."""
    optimizer = engine.optimizer
    if engine.zero_optimization_stage() == 3:
        for parameter in engine.module.parameters():
            parameter.ds_secondary_tensor = None  # hpZ's copy of the old weights within a group of ranks
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
    """Send all partitions of a parameter group to every rank, at ZeRO 1 and 2.

    The partitions are sent one after another, each into its place. DeepSpeed's own `update_lp_params` gathers all at
    once, for which gloo needs a second copy of the model.
    """
    processes = optimizer.real_dp_process_group[group]
    partitions = optimizer.parallel_partitioned_bit16_groups[group]
    partitions[dist.get_rank(processes)].data.copy_(optimizer.single_partition_of_fp32_groups[group].data)
    for rank, partition in enumerate(partitions):
        dist.broadcast(partition.data, dist.get_global_rank(processes, rank), processes)
