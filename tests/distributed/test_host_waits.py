"""A step that makes the host wait for its GPU leaves it idle: on one rank no step in half precision does."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from batches import model_and_batch
from emulated_gpu import HostWaits
from ranks import pool
from recipes import tiny, zero

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.cohorts import CohortCorrection
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.layout import flat_tensors
from apollo_ds.engine.processes import Processes
from apollo_ds.models.pretraining import skeleton

_WARM_UP = 2


def waits_of_a_step(processes: Processes, recipe: Recipe, kind: str) -> list[str]:
    """Where a step makes the host wait, once those before it have set things up."""
    engine = Engine(skeleton(recipe.model, 3), recipe.engine_options(processes.world_size), processes, seed=1)
    _, batch = model_and_batch(recipe.model.family, 4)
    plan = replace(recipe.schedule().at(1), layer_map=(0, 1, 2, 2), learning_rate=1e-3)
    if kind == "cohorts":
        engine.births = (0, 1)
        engine.cohorts = CohortCorrection(engine.births, flat_tensors(engine.deepspeed))
        for mask in engine.cohorts.masks.values():
            mask[::2] = 1
        engine.cohorts.index()
    if kind == "frozen below":
        plan = replace(plan, layer_map=(0, 1, 2), first_trained=2)
    if kind == "documents":
        batch = (*batch, torch.arange(batch[0].shape[1]).remainder(12).expand_as(batch[0]))
    batches = [batch, batch] if kind == "two micro-batches" else [batch]
    plans = [plan] * len(batches)
    for _ in range(_WARM_UP):
        engine.train_step(batches, plans, measure_update=True)
    with HostWaits() as waits:
        engine.train_step(batches, plans, measure_update=True)
    engine.close()
    return waits.places


@pytest.mark.parametrize("kind", ["plain", "two micro-batches", "cohorts", "frozen below", "documents"])
@pytest.mark.parametrize(("family", "zero_stage"), [("gpt2", 1), ("bert", 2)])
def test_a_step_on_one_rank_never_waits(family: str, zero_stage: int, kind: str) -> None:
    config: dict[str, Any] = zero(zero_stage, "bf16")
    recipe = tiny(family, "unused", deepspeed=config).settled(computes_bf16=True, world_size=1)
    (places,) = pool(1).run(waits_of_a_step, recipe, kind)
    assert places == []


def test_such_a_wait_would_be_seen() -> None:
    """DeepSpeed looks at each gradient itself unless it is told not to."""
    config = {**zero(1, "bf16"), "bf16": {"enabled": True, "check_grad_overflow": True}}
    recipe = tiny("bert", "unused", deepspeed=config).settled(computes_bf16=True, world_size=1)
    (places,) = pool(1).run(waits_of_a_step, recipe, "plain")
    assert any(place.startswith("stage_1_and_2.py") for place in places)
