"""Parts of a step that have a way of their own here on a CPU, each beside the usual way, in turn."""

import time
from collections.abc import Callable
from statistics import median
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from apollo_ds.engine.malloc import keep_freed_memory
from apollo_ds.engine.processes import Processes
from apollo_ds.models.attention import ATTENTION
from apollo_ds.models.families import family_of
from apollo_ds.models.loss import summed_cross_entropy
from apollo_ds.models.pretraining import build
from speed.bare_steps import bare_steps
from speed.pacing import Pace, Paced
from speed.settings import Setting, recipe_of

_ROUNDS = 15
_USUAL_ROWS = 512


def measure(setting: Setting, processes: Processes) -> dict[str, dict[str, float]]:
    """Milliseconds, medians over rounds, of each part done in either way; forward and backward."""
    dtype = torch.bfloat16 if processes.computes_bf16 else torch.float32
    found = {
        "a layer": _in_turn(_layers(setting, dtype)),
        "the head's loss": _in_turn(_losses(setting, dtype)),
    }
    for layers in (1, setting.shape.num_layers):
        found[f"a step of {layers} layers" if layers > 1 else "a step of one layer"] = _steps(setting, layers)
    return found


def _in_turn(ways: dict[str, Callable[[], Tensor]]) -> dict[str, float]:
    keep_freed_memory()
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(_ROUNDS + 2):
        for way in list(ways)[:: 1 if number % 2 else -1]:
            began = time.perf_counter()
            ways[way]().backward()
            seconds[way].append(time.perf_counter() - began)
    return {way: median(times[2:]) * 1000 for way, times in seconds.items()}


def _layers(setting: Setting, dtype: torch.dtype) -> dict[str, Callable[[], Tensor]]:
    shape = setting.shape.model_copy(update={"num_layers": 1})
    model = build(shape, 1, torch.device("cpu"))
    for name, value in model.initial_values(seed=0):
        model.get_parameter(name).data = value
    model.to(dtype)
    hidden = torch.randn(setting.samples, setting.seq_len, shape.hidden_size, dtype=dtype, requires_grad=True)

    def with_attention(implementation: str) -> Callable[[], Tensor]:
        def run() -> Tensor:
            model.model.config._attn_implementation = implementation
            out = model.layers[0](hidden)
            return (out[0] if isinstance(out, tuple) else out).sum()

        return run

    return {"own": with_attention(ATTENTION), "usual": with_attention("sdpa")}


def _losses(setting: Setting, dtype: torch.dtype) -> dict[str, Callable[[], Tensor]]:
    shape = setting.shape
    scored = family_of(shape).scored_positions(setting.seq_len)
    decoder = nn.Linear(shape.hidden_size, shape.vocab_size, bias=family_of(shape).is_masked, dtype=dtype)
    hidden = torch.randn(setting.samples * scored, shape.hidden_size, dtype=dtype, requires_grad=True)
    labels = torch.randint(shape.vocab_size, (len(hidden),))

    def of_chunk(part: Tensor, expected: Tensor) -> Tensor:
        return F.cross_entropy(decoder(part).float(), expected, reduction="sum")

    def usual() -> Tensor:
        if len(hidden) <= _USUAL_ROWS:
            return of_chunk(hidden, labels)
        chunks = zip(hidden.split(_USUAL_ROWS), labels.split(_USUAL_ROWS), strict=True)
        return torch.stack([checkpoint(of_chunk, *chunk, use_reentrant=False) for chunk in chunks]).sum()

    return {"own": lambda: summed_cross_entropy(hidden, decoder, labels), "usual": usual}


def _steps(setting: Setting, layers: int) -> dict[str, float]:
    """Steps with freed memory kept, and given back as glibc does by itself; each in a process of its own, in turn."""
    loops = {way: Paced(bare_loop, setting, layers, keeps=way == "own") for way in ("own", "usual")}
    seconds: dict[str, list[float]] = {way: [] for way in loops}
    for number in range(_ROUNDS + 1):
        for way in list(loops)[:: 1 if number % 2 else -1]:
            seconds[way].append(loops[way].steps(1))
    for loop in loops.values():
        loop.close()
    return {way: median(times[1:]) * 1000 for way, times in seconds.items()}


def bare_loop(pace: Pace, processes: Processes, setting: Setting, layers: int, keeps: bool) -> None:
    """Steps of the engine, without end."""
    with patch("apollo_ds.engine.engine.keep_freed_memory", keep_freed_memory if keeps else lambda: None):
        steps = bare_steps(recipe_of(setting, processes, layers=layers), processes)
        while True:
            pace.gate()
            steps(1)
