"""Engines without a trainer: some steps, and the state after them."""

from typing import Any

import torch
from recipes import zero

from apollo_ds.config.recipe import Recipe
from apollo_ds.data.batches import BatchSource
from apollo_ds.data.text import Text
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes


def train_steps(processes: Processes, engine: Engine, recipe: Recipe, steps: range) -> list[float]:
    """Losses of some steps of the schedule."""
    schedule = recipe.schedule()
    source = BatchSource(Text.open(recipe.data), recipe.model, recipe.seq_len, recipe.seed)
    losses = []
    for step in steps:
        plan = schedule.at(step)
        micro_batch = recipe.micro_batch(processes.world_size)
        batches = source.micro_batches(
            plan.first_token,
            plan.seq_len,
            recipe.global_batch_size,
            micro_batch,
            processes.rank,
            processes.world_size,
        )
        result = engine.train_step(batches, [plan] * len(batches))
        losses.append(float(processes.sum(result.loss)) / processes.world_size)
        assert float(result.grad_norm) > 0
    return losses


def whole_state(processes: Processes, engine: Engine) -> dict[str, torch.Tensor]:
    """Every tensor of the training state, gathered."""
    state = engine.capture()
    return {
        f"{name}/{key}": state.gather(name, key, processes.device)
        for name in state.names()
        for key in state.counters.tensors
    }


def offload(stage: int) -> dict[str, Any]:
    config = zero(stage, "bf16")
    config["zero_optimization"]["offload_optimizer"] = {"device": "cpu"}
    return {**config, "zero_force_ds_cpu_optimizer": False}
