"""A step whose loss is not a number, or infinite, on one rank."""

import math
from typing import Any

import torch
from ranks import pool
from recipes import tiny, zero

from apollo_ds.config.recipe import Recipe
from apollo_ds.data.batches import BatchSource
from apollo_ds.data.text import Text
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.models.pretraining import skeleton


def step_with_poison(processes: Processes, recipe: Recipe, poison: float) -> list[Any]:
    """A good step, one with a poisoned loss on the second rank, a good one; and the same without the poisoned one.

    Returns for both: the norms, and the state after all.
    """
    source = BatchSource(Text.open(recipe.data), recipe.model, recipe.seq_len, recipe.seed)
    results = []
    for plans in ([0, 1, 2], [0, 2]):
        engine = Engine(
            skeleton(recipe.model, 6), recipe.engine_options(processes.world_size), processes, seed=recipe.seed
        )
        norms = []
        for step in plans:
            plan = recipe.schedule().at(step)
            share = recipe.global_batch_size // processes.world_size
            batches = source.micro_batches(
                plan.first_token, plan.seq_len, recipe.global_batch_size, share, processes.rank, processes.world_size
            )
            forward = engine.model.forward
            if step == 1 and processes.rank == 1:
                engine.model.forward = lambda *batch, f=forward: f(*batch) * poison
            norms.append(float(engine.train_step(batches, [plan]).grad_norm))
            engine.model.forward = forward
        state = engine.capture()
        results.append((norms, state.counters.adam_step, {name: part.tensors for name, part in state.slices.items()}))
        engine.close()
    return results


def assert_poison_changes_nothing(stage: int, precision: str, poison: float) -> None:
    """All ranks skip the poisoned step, and are then as if it had not been."""
    recipe = tiny("gpt2", "unused", method="scratch", deepspeed=zero(stage, precision), learning_rate=1e-2)
    for (norms, steps, poisoned), (_, steps_without, clean) in pool(2).run(step_with_poison, recipe, poison):
        assert math.isinf(norms[1])
        assert math.isfinite(norms[0])
        assert math.isfinite(norms[2])
        assert steps == steps_without == 2
        for name, tensors in clean.items():
            for key, tensor in tensors.items():
                assert torch.equal(tensor, poisoned[name][key]), (name, key)
