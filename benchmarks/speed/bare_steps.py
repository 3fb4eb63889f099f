"""Steps of the engine by itself, without the training loop around it."""

import time
from collections.abc import Callable

import torch

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.models.pretraining import build
from speed.settings import source_of


def bare_steps(recipe: Recipe, processes: Processes, micro_batches: int = 1) -> Callable[[int], float]:
    """A function that trains all layers for so many steps on one batch, on all ranks, and returns seconds."""
    plan = recipe.schedule().at(0)
    share = recipe.global_batch_size // processes.world_size // micro_batches
    source, place = source_of(recipe), (processes.rank, processes.world_size)
    batches = source.micro_batches(plan, recipe.global_batch_size, share, *place)
    on_device = [tuple(tensor.to(processes.device) for tensor in batch) for batch in batches]
    engine = Engine(build(recipe.model, recipe.model.num_layers, 1), recipe, processes)

    def steps(count: int) -> float:
        processes.barrier()
        began = time.perf_counter()
        for _ in range(count):
            engine.train_step(on_device, [plan] * micro_batches)
        finish(processes)
        return time.perf_counter() - began

    return steps


def finish(processes: Processes) -> None:
    """Wait until the device has done what it was told to."""
    if processes.device.type == "cuda":
        torch.cuda.synchronize()
