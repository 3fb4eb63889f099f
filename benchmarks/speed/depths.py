"""Step time against the number of layers that run: drawn anew at each step, and always the same."""

import random
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.models.pretraining import skeleton
from speed.bare_steps import on_device
from speed.pacing import finish_on_device
from speed.settings import Setting, recipe_of, source_of

Times = dict[int, np.ndarray]
"""Seconds of every step, by depth."""

_SAMPLES_ON_CPU = 2
"""Short steps leave time for many rounds, which are needed because the machine's speed varies."""
_RESAMPLINGS = 1000


def measure(setting: Setting, processes: Processes, rounds: int, warm_up: int = 2) -> dict[str, Any]:
    """Seconds a step of one layer run 1, 2, ... times: by one engine in a random order, and by one engine a depth.

    In a round the two take each depth once, one right after the other. A third engine draws its depths too, with a
    compiled layer, in a sixth of the rounds; what it compiles after the warm-up is counted. On a CPU all run on one
    core, with short steps.
    """
    threads = torch.get_num_threads()
    if processes.device.type == "cpu":
        setting = replace(setting, samples=_SAMPLES_ON_CPU)
        torch.set_num_threads(1)
    seconds, compiled_after_warm_up = _steps_in_turn(setting, processes, rounds, warm_up)
    torch.set_num_threads(threads)
    kept = {way: {depth: np.array(times[warm_up:]) for depth, times in of.items()} for way, of in seconds.items()}
    medians = {"drawn, compiled": {depth: float(np.median(times)) for depth, times in kept["drawn, compiled"].items()}}
    medians |= _side_by_side(kept["drawn"], kept["fixed"])
    return {
        "rounds": rounds,
        "samples": setting.samples,
        "threads": 1 if processes.device.type == "cpu" else None,
        "seconds": medians,
        "lines": {way: _line(times) for way, times in medians.items()},
        "drawn_over_fixed": _drawn_over_fixed(kept["drawn"], kept["fixed"], rounds),
        "compiled_after_warm_up": compiled_after_warm_up,
    }


def _steps_in_turn(
    setting: Setting, processes: Processes, rounds: int, warm_up: int
) -> tuple[dict[str, dict[int, list[float]]], int]:
    """Seconds of every step by way and depth, and how many graphs were compiled after the warm-up."""
    depths = range(1, setting.shape.num_layers + 1)
    recipe = recipe_of(setting, processes)
    plan = recipe.schedule().at(0)
    batches = source_of(recipe).micro_batches(0, plan.seq_len, setting.samples, setting.samples, 0, 1)
    batch = on_device(batches[:1], processes)
    drawn, compiled = _engine(recipe, processes), _engine(recipe, processes, compiled=True)
    fixed = {depth: _engine(recipe, processes) for depth in depths}
    ways = ("drawn", "fixed", "drawn, compiled")
    seconds: dict[str, dict[int, list[float]]] = {way: {depth: [] for depth in depths} for way in ways}

    def step(way: str, engine: Engine, depth: int) -> None:
        finish_on_device()
        began = time.perf_counter()
        engine.train_step(batch, [replace(plan, layer_map=(0,) * depth)])
        finish_on_device()
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
    return seconds, graphs[-1] - graphs[warm_up - 1]


def _side_by_side(drawn: Times, fixed: Times) -> dict[str, dict[int, float]]:
    """Medians of a fixed depth's times, and of a drawn one's as so many times them: neighbours in time compare."""
    base = {depth: float(np.median(times)) for depth, times in fixed.items()}
    return {
        "drawn": {depth: base[depth] * float(np.median(drawn[depth] / fixed[depth])) for depth in base},
        "fixed": base,
    }


def _drawn_over_fixed(drawn: Times, fixed: Times, rounds: int) -> dict[str, list[float]]:
    """Of a step, the mean over depths, and of the lines' `a` and `b`: the ratio, and the ends of its 95% interval.

    The interval is by resampling whole rounds, in which the machine's state was one.
    """

    def ratios(picked: np.ndarray) -> tuple[float, float, float]:
        medians = _side_by_side(*({depth: of[depth][picked] for depth in of} for of in (drawn, fixed)))
        lines = {way: _line(times) for way, times in medians.items()}
        steps = np.mean([medians["drawn"][depth] / medians["fixed"][depth] for depth in drawn])
        start, slope = (lines["drawn"][key] / lines["fixed"][key] for key in ("a", "b"))
        return float(steps), start, slope

    state = np.random.default_rng(0)
    measured = ratios(np.arange(rounds))
    again = [ratios(state.integers(rounds, size=rounds)) for _ in range(_RESAMPLINGS)]
    low, high = np.quantile(again, [0.025, 0.975], axis=0)
    return {key: [measured[i], float(low[i]), float(high[i])] for i, key in enumerate(("step", "a", "b"))}


def _engine(recipe: Recipe, processes: Processes, compiled: bool = False) -> Engine:
    model = skeleton(recipe.model, 1)
    if compiled:
        model.compile_blocks()
    return Engine(model, recipe.engine_options(processes.world_size), processes, seed=1)


def _graphs_compiled() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def _line(times: dict[int, float]) -> dict[str, float]:
    """The straight line a + b * depth of least squares in parts of the time, and the greatest such distance from it.

    The distance is relative because a machine's speed varies by a fraction of a step's time.
    """
    depths, seconds = np.array(list(times)), np.array(list(times.values()))
    slope, start = np.polyfit(depths, seconds, 1, w=1 / seconds)
    distance = np.abs(start + slope * depths - seconds) / seconds
    return {"a": float(start), "b": float(slope), "greatest_distance": float(distance.max())}
