"""Rebuilding the engine around the same training state changes nothing, at every ZeRO stage and precision."""

from typing import Any

import pytest
import torch
from ranks import pool
from recipes import tiny, zero

from apollo_ds.config.recipe import Recipe
from apollo_ds.data.batches import BatchSource
from apollo_ds.data.corpus import Corpus
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.growth.state_map import no_growth
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.pretraining import build


def train(processes: Processes, engine: Engine, recipe: Recipe, steps: range) -> list[float]:
    """Losses of some steps of the schedule."""
    schedule = recipe.schedule()
    source = BatchSource(Corpus.open(recipe.data), recipe.model, recipe.seq_len, recipe.seed)
    losses = []
    for step in steps:
        plan = schedule.at(step)
        micro_batch = recipe.micro_batch(processes.world_size)
        batches = source.micro_batches(
            plan, recipe.global_batch_size, micro_batch, processes.rank, processes.world_size
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


def run(processes: Processes, recipe: Recipe, rebuild: bool) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Four steps, perhaps a growth from 3 to 3 layers, ten more steps."""
    engine = Engine(build(recipe.model, 3, seed=1), recipe, processes)
    losses = train(processes, engine, recipe, range(4))
    if rebuild:
        state = engine.capture()
        engine.close()
        engine = Engine(build(recipe.model, 3, seed=2), recipe, processes)
        engine.restore(state, no_growth(3, f"model.{FAMILIES[recipe.model.family].blocks}", recipe.model.family))
    losses += train(processes, engine, recipe, range(4, 14))
    result = whole_state(processes, engine)
    engine.close()
    return losses, result


def offload(stage: int) -> dict[str, Any]:
    config = zero(stage, "bf16")
    config["zero_optimization"]["offload_optimizer"] = {"device": "cpu"}
    return {**config, "zero_force_ds_cpu_optimizer": False}


CONFIGURATIONS = {
    **{f"zero{stage}-{precision}": zero(stage, precision) for stage in range(4) for precision in ("fp32", "bf16")},
    "zero1-bf16-fp32-accumulation": {**zero(1, "bf16"), "data_types": {"grad_accum_dtype": "fp32"}},
    "zero2-offload": offload(2),
    "zero3-offload": offload(3),
}


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_identity_growth_is_exact(configuration: str, world_size: int) -> None:
    method = {"name": "apollo", "layers": [3, 6], "grow_at": [0.9]}
    recipe = tiny("bert", "unused", method=method, deepspeed=CONFIGURATIONS[configuration])
    plain, plain_state = pool(world_size).run(run, recipe, False)[0]
    rebuilt, rebuilt_state = pool(world_size).run(run, recipe, True)[0]
    assert plain == rebuilt
    assert plain[-1] < plain[0]
    for name, tensor in plain_state.items():
        assert torch.equal(tensor, rebuilt_state[name]), name
