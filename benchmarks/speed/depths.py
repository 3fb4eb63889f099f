"""Step time against the number of layers that run: drawn anew at each step, and always the same."""

import random
import time
from dataclasses import replace
from statistics import median, quantiles
from typing import Any

import numpy as np
import torch

from apollo_ds.engine import Engine, Processes
from apollo_ds.models import build
from apollo_ds.recipe import Recipe
from speed.bare_steps import finish
from speed.settings import Setting, recipe_of, source_of

_SHORT = {"samples": 2, "vocab_size": 4096}
"""Of a step on a CPU: it leaves time for a hundred rounds, without which the machine's own unrest is all that shows."""


def measure(setting: Setting, processes: Processes, rounds: int, warm_up: int = 2) -> dict[str, Any]:
    """Seconds a step of one layer run 1, 2, ... times: by one engine in a random order, and by one engine a depth.

    The two take each depth one right after the other. A third engine draws its depths too, with a compiled layer, in a
    sixth of the rounds; what it compiles after the warm-up is counted. On a CPU all run on one core, with short steps.
    """
    threads = torch.get_num_threads()
    if processes.device.type == "cpu":
        shape = setting.shape.model_copy(update={"vocab_size": _SHORT["vocab_size"]})
        setting = replace(setting, shape=shape, samples=_SHORT["samples"])
        torch.set_num_threads(1)
    depths = range(1, setting.shape.num_layers + 1)
    recipe = recipe_of(setting, processes)
    plan, source = recipe.schedule().at(0), source_of(recipe)
    batches = source.micro_batches(plan, setting.samples, setting.samples, 0, 1)
    batch = [tuple(tensor.to(processes.device) for tensor in batches[0])]
    drawn, compiled = _engine(recipe, processes), _engine(recipe, processes, compiled=True)
    fixed = {depth: _engine(recipe, processes) for depth in depths}
    seconds: dict[str, dict[int, list[float]]] = {
        way: {depth: [] for depth in depths} for way in ("drawn", "fixed", "drawn, compiled")
    }

    def step(way: str, engine: Engine, depth: int) -> None:
        finish(processes)
        began = time.perf_counter()
        engine.train_step(batch, [replace(plan, layer_map=(0,) * depth)])
        finish(processes)
        seconds[way][depth].append(time.perf_counter() - began)

    order = list(depths)
    for number in range(rounds + warm_up):
        random.Random(number).shuffle(order)
        for place, depth in enumerate(order):
            turns = [("drawn", drawn), ("fixed", fixed[depth])]
            for way, engine in turns if (number + place) % 2 else turns[::-1]:
                step(way, engine, depth)
    graphs = []
    for number in range(rounds // 6 + warm_up):
        random.Random(number).shuffle(order)
        for depth in order:
            step("drawn, compiled", compiled, depth)
        graphs.append(_graphs_compiled())
    for engine in (drawn, compiled, *fixed.values()):
        engine.close()
    torch.set_num_threads(threads)
    kept = {way: {depth: times[warm_up:] for depth, times in of.items()} for way, of in seconds.items()}
    medians = {way: {depth: median(times) for depth, times in of.items()} for way, of in kept.items()}
    return {
        "rounds": rounds,
        "samples": setting.samples,
        "vocab_size": setting.shape.vocab_size,
        "threads": 1 if processes.device.type == "cpu" else None,
        "seconds": medians,
        "lines": {way: _line(times) for way, times in medians.items()},
        "drawn_over_fixed": _paired(kept["drawn"], kept["fixed"]),
        "compiled_after_warm_up": graphs[-1] - graphs[warm_up - 1],
    }


def _paired(drawn: dict[int, list[float]], fixed: dict[int, list[float]]) -> dict[str, float]:
    """The median, over all depths and rounds, of what drawing costs next to a fixed depth, and the quartiles."""
    ratios = [a / b for depth in drawn for a, b in zip(drawn[depth], fixed[depth], strict=True)]
    low, _, high = quantiles(ratios, n=4)
    return {"median": median(ratios), "low": low, "high": high}


def _engine(recipe: Recipe, processes: Processes, compiled: bool = False) -> Engine:
    model = build(recipe.model, 1, 1)
    if compiled:
        model.compile_blocks()
    return Engine(model, recipe, processes)


def _graphs_compiled() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def _line(times: dict[int, float]) -> dict[str, float]:
    """The straight line a + b * depth of least squares, and the greatest distance from it as a part of the time."""
    depths, seconds = np.array(list(times)), np.array(list(times.values()))
    slope, start = np.polyfit(depths, seconds, 1)
    distance = np.abs(start + slope * depths - seconds) / seconds
    return {"a": float(start), "b": float(slope), "greatest_distance": float(distance.max())}
