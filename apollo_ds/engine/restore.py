"""Write a training state into a new engine: a saved state unchanged, or the state of an earlier stage grown."""

from itertools import chain

import torch
from torch import Tensor

from apollo_ds.engine import layout
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.malloc import trim_after
from apollo_ds.errors import UserError
from apollo_ds.growth.counters import WEIGHT, Counters
from apollo_ds.growth.state import Shape, State, StoredState, dtype_of, joined
from apollo_ds.growth.weights_and_moments import StateMap

_Target = tuple[str, Shape, layout.OwnedSlice | None]
"""A parameter to restore: its name, its shape, and this rank's slice, or None if it is frozen."""


@torch.no_grad()
def load(engine: Engine, saved: StoredState) -> None:
    """Load a saved state unchanged. All ranks call it together. Each reads only the elements that it will hold.

    If every rank holds a whole tensor, each reads a share of it, and the ranks combine their shares.

    Raises:
        KeyError: the state lacks a parameter that the model needs.
        ValueError: a parameter's shape is not the model's.
        UserError: another optimizer wrote it.
    """
    if saved.counters.optimizer not in (None, engine.optimizer):
        raise UserError(
            f"optimizer: {saved.counters.optimizer} wrote the state that the run goes on from, and its moments are "
            f"not {engine.optimizer}'s; use optimizer={saved.counters.optimizer}, or begin anew with init_from"
        )
    engine.set_counters(saved.counters)
    for name, shape, part in engine.slices():
        _check_shape(name, saved.shape(name), shape)
        for key in _kept(part, saved.counters):
            if layout.is_replicated(engine.deepspeed):
                part.tensors[key].copy_(_read_together(engine, saved, name, key))
            else:
                saved.read_into(name, key, part.start, part.tensors[key])
    for name, share in engine.frozen_parameters.items():
        _check_shape(name, saved.shape(name), share.shape)
        engine.write_frozen(name, _read_together(engine, saved, name, WEIGHT).view(share.shape))
    engine.start_from_restored()


def _read_together(engine: Engine, saved: StoredState, name: str, key: str) -> Tensor:
    """Read a whole tensor onto every rank's device: each rank reads a share, and the ranks combine them."""
    processes, elements = engine.processes, torch.Size(saved.shape(name)).numel()
    share = -(-elements // processes.world_size)
    start = min(elements, share * processes.rank)
    own = torch.empty(min(share, elements - start), dtype=dtype_of(key))
    saved.read_into(name, key, start, own)
    return joined(own, start, elements, processes.device)


@torch.no_grad()
def grow(engine: Engine, state: State, growth: StateMap) -> None:
    """Grow a state into the engine, one tensor of one parameter at a time. All ranks call it together.

    Tensors are released as soon as they have been read, so no rank ever holds a second full copy. A `ShardedState` is
    empty afterwards.

    Raises:
        KeyError: the state lacks a parameter that the model needs.
        ValueError: a parameter's shape is not the model's.
    """
    counters = growth.counters(state.counters)
    engine.set_counters(counters)
    exists = set(state.names())
    by_source: dict[tuple[str, ...], list[_Target]] = {}
    frozen = ((name, part.shape, None) for name, part in engine.frozen_parameters.items())
    for name, shape, part in chain(engine.slices(), frozen):
        by_source.setdefault(growth.sources(name, exists), []).append((name, shape, part))
    # Small parameters come first, so that most of the state is released before the largest are gathered.
    groups = sorted(by_source.items(), key=lambda group: _largest(group[1]))
    last_use = {source: sources for sources, _ in groups for source in sources}
    for sources, targets in groups:
        for key in counters.tensors:
            own = [target for target in targets if key in _kept(target[2], counters)]
            old = {source: _gather(engine, state, source, key) for source in sources if own}
            for name, shape, part in own:
                new = growth.apply(name, key, old, state.counters)
                if new is not None:
                    _write(engine, name, new, shape, part, key)
            old, new = {}, None  # free them before the next is gathered
            for source in sources:
                if last_use[source] == sources:
                    state.release(source, key)
            trim_after(_largest(targets))
    engine.start_from_restored()


def _kept(part: layout.OwnedSlice | None, counters: Counters) -> list[str]:
    """The names of the tensors that the engine keeps for a parameter. They are the same on all ranks.

    A frozen parameter has only its weight. A matrix that Muon trains has one moment.
    """
    return [WEIGHT] if part is None else [key for key in counters.tensors if key in part.tensors]


def _largest(targets: list[_Target]) -> int:
    return max(torch.Size(shape).numel() for _, shape, _ in targets)


def _gather(engine: Engine, state: State, name: str, key: str) -> Tensor:
    device = engine.processes.device
    if key in state.counters.tensors:
        return state.gather(name, key, device)
    return torch.zeros(state.shape(name), dtype=dtype_of(key), device=device)  # all are of cohort 0


def _write(engine: Engine, name: str, new: Tensor, shape: Shape, part: layout.OwnedSlice | None, key: str) -> None:
    new = new if new.dim() else new.expand(shape)  # one value for all elements
    _check_shape(name, tuple(new.shape), shape)
    if part is None:
        engine.write_frozen(name, new)
    else:
        part.tensors[key].copy_(new.flatten().narrow(0, part.start, part.length))


def _check_shape(name: str, found: Shape, wanted: Shape) -> None:
    if found != wanted:
        raise ValueError(f"{name}: shape {found} in the state, {wanted} in the model")
