"""What a step with Muon costs beside one with AdamW, by the number of layers that there are."""

import time
from typing import Any

import numpy as np
import torch

from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.models.pretraining import skeleton
from speed.bare_steps import on_device
from speed.pacing import finish_on_device
from speed.settings import Setting, recipe_of, source_of

_LAYERS = (1, 3, 6, 12)
_OPTIMIZERS = ("adamw", "muon")


def measure(setting: Setting, processes: Processes, rounds: int, warm_up: int = 2) -> dict[str, Any]:
    """Seconds of a step by optimizer and number of layers, medians, and the median of each round's ratio.

    In a round both take a step, one right after the other. On a CPU all run on one core.
    """
    threads = torch.get_num_threads()
    if processes.device.type == "cpu":
        torch.set_num_threads(1)
    found = {str(layers): _side_by_side(setting, processes, layers, rounds, warm_up) for layers in _LAYERS}
    torch.set_num_threads(threads)
    return {
        "rounds": rounds,
        "samples": setting.samples,
        "threads": 1 if processes.device.type == "cpu" else None,
        "layers": found,
    }


def _side_by_side(setting: Setting, processes: Processes, layers: int, rounds: int, warm_up: int) -> dict[str, Any]:
    recipes = [recipe_of(setting, processes, layers=layers, optimizer=name) for name in _OPTIMIZERS]
    engines = [
        Engine(skeleton(recipe.model, layers), recipe.engine_options(processes.world_size), processes, seed=1)
        for recipe in recipes
    ]
    plan = recipes[0].schedule().at(0)
    batches = source_of(recipes[0]).micro_batches(0, plan.seq_len, setting.samples, setting.samples, 0, 1)
    batch = on_device(batches[:1], processes)
    seconds = np.zeros((rounds + warm_up, len(engines)))
    for number in range(rounds + warm_up):
        turns = list(enumerate(engines))
        for place, engine in turns if number % 2 else turns[::-1]:
            finish_on_device()
            began = time.perf_counter()
            engine.train_step(batch, [plan])
            finish_on_device()
            seconds[number, place] = time.perf_counter() - began
    for engine in engines:
        engine.close()
    kept = seconds[warm_up:]
    medians = dict(zip(_OPTIMIZERS, np.median(kept, axis=0).tolist(), strict=True))
    ratios = kept[:, 1] / kept[:, 0]
    low, high = np.quantile(ratios, [0.25, 0.75])
    return {**medians, "ratio": float(np.median(ratios)), "quartiles": [float(low), float(high)]}
