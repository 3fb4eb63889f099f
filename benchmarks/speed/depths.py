"""Step time against the number of layers that run: drawn anew at each step, and always the same."""

import random
import time
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
import torch

from apollo_ds.engine import Engine, Processes
from apollo_ds.models import build
from apollo_ds.recipe import Recipe
from speed.bare_steps import finish
from speed.settings import Setting, recipe_of, source_of


def measure(setting: Setting, processes: Processes, rounds: int, warm_up: int = 2) -> dict[str, Any]:
    """Seconds a step of one layer run 1, 2, ... times: by one engine in a random order, and by one engine a depth.

    A third engine draws its depths too, with a compiled layer; what it compiles after the warm-up is counted. Every
    measured step comes after another one of the same engine; that one is not timed.
    """
    depths = range(1, setting.shape.num_layers + 1)
    recipe = recipe_of(setting, processes)
    plan, source = recipe.schedule().at(0), source_of(recipe)
    batches = source.micro_batches(plan, setting.samples, setting.samples, 0, 1)
    batch = [tuple(tensor.to(processes.device) for tensor in batches[0])]
    drawn = {"drawn": _engine(recipe, processes), "drawn, compiled": _engine(recipe, processes, compiled=True)}
    fixed = {depth: _engine(recipe, processes) for depth in depths}
    ways = (*drawn, "fixed")
    seconds: dict[str, dict[int, list[float]]] = {way: {depth: [] for depth in depths} for way in ways}
    compiled = 0

    def step(engine: Engine, depth: int) -> float:
        finish(processes)
        began = time.perf_counter()
        engine.train_step(batch, [replace(plan, layer_map=(0,) * depth)])
        finish(processes)
        return time.perf_counter() - began

    order = list(depths)
    for number in range(rounds + warm_up):
        random.Random(number).shuffle(order)
        if number == warm_up:
            compiled = _graphs_compiled()
        times = {}
        for way, engine in drawn.items():
            step(engine, order[-1])
            times |= {(way, depth): step(engine, depth) for depth in order}
        for depth in order:
            step(fixed[depth], depth)
            times["fixed", depth] = step(fixed[depth], depth)
        for (way, depth), taken in times.items():
            if number >= warm_up:
                seconds[way][depth].append(taken)
    compiled_later = _graphs_compiled() - compiled
    for engine in (*drawn.values(), *fixed.values()):
        engine.close()
    medians = {way: {depth: median(times) for depth, times in of.items()} for way, of in seconds.items()}
    lines = {way: _line(times) for way, times in medians.items()}
    return {"rounds": rounds, "seconds": medians, "lines": lines, "compiled_after_warm_up": compiled_later}


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
