"""Steps of the engine by itself, without the training loop around it."""

import time
from collections.abc import Callable, Sequence

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.models.pretraining import Batch, skeleton
from speed.pacing import finish_on_device
from speed.settings import source_of


def bare_steps(recipe: Recipe, processes: Processes, micro_batches: int = 1) -> Callable[[int], float]:
    """A function that trains all layers for so many steps on one batch, on all ranks, and returns seconds."""
    plan = recipe.schedule().at(0)
    share = recipe.global_batch_size // processes.world_size // micro_batches
    batches = source_of(recipe).micro_batches(
        plan.first_token, plan.seq_len, recipe.global_batch_size, share, processes.rank, processes.world_size
    )
    placed = on_device(batches, processes)
    model = skeleton(recipe.model, recipe.model.num_layers)
    engine = Engine(model, recipe.engine_options(processes.world_size), processes, seed=1)

    def steps(count: int) -> float:
        processes.barrier()
        began = time.perf_counter()
        for _ in range(count):
            engine.train_step(placed, [plan] * micro_batches)
        finish_on_device()
        return time.perf_counter() - began

    return steps


def on_device(batches: Sequence[Batch], processes: Processes) -> list[Batch]:
    """The batches where this rank computes."""
    device = processes.device
    return [(ids.to(device), positions.to(device), labels.to(device)) for ids, positions, labels in batches]
