"""Layers that a step skips or a stage freezes: nothing moves them, and nothing is sent for them."""

from functools import partial
from typing import Any

import deepspeed
import pytest
import torch
from corpora import corpus
from ranks import pool
from recipes import tiny, zero

from apollo_ds.config.recipe import Recipe
from apollo_ds.data.batches import BatchSource
from apollo_ds.data.text import Text
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.growth.counters import WEIGHT
from apollo_ds.growth.stage_model import build_for
from apollo_ds.models.flops import trainable_parameters


class Traffic:
    """Counts the elements that this rank hands to DeepSpeed's collective operations."""

    def __init__(self) -> None:
        self.backend = deepspeed.comm.comm.cdb
        self.elements = 0
        self.originals = {
            name: getattr(self.backend, name)
            for name in dir(self.backend)
            if name.startswith(("all_", "reduce", "broadcast", "inference_all"))
            and callable(getattr(self.backend, name))
        }

    def __enter__(self) -> "Traffic":
        for name, original in self.originals.items():
            setattr(self.backend, name, partial(self._count, original))
        return self

    def _count(self, original: Any, *arguments: Any, **options: Any) -> Any:
        tensors = [value for value in (*arguments, *options.values()) if isinstance(value, torch.Tensor)]
        self.elements += max((tensor.numel() for tensor in tensors), default=0)
        return original(*arguments, **options)

    def __exit__(self, *_: Any) -> None:
        for name, original in self.originals.items():
            setattr(self.backend, name, original)


def step_and_look(processes: Processes, recipe: Recipe, stage_number: int, steps: int) -> dict[str, Any]:
    """Train a stage; what its layers hold before and after, and the elements that ranks exchanged in its last step."""
    schedule = recipe.schedule()
    stage = schedule.stages[stage_number]
    engine = Engine(build_for(stage), recipe.engine_options(processes.world_size), processes, seed=1)
    source = BatchSource(Text.of(corpus(recipe.model.family)), recipe.model, recipe.seq_len, recipe.seed)
    first = schedule.first_steps[stage_number]
    seen: list[dict[str, Any]] = []
    for step in range(first, first + steps):
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
        with Traffic() as traffic:
            engine.train_step(batches, [plan] * len(batches))
        seen.append({"plan": plan, "state": engine.capture()})
    optimizer_elements = sum(part.length for _, _, part in engine.slices())
    state = [
        {
            name: {key: tensor.clone() for key, tensor in part.tensors.items()}
            for name, part in step["state"].slices.items()
        }
        for step in seen
    ]
    engine.close()
    return {
        "plans": [step["plan"] for step in seen],
        "states": state,
        "optimizer": optimizer_elements,
        "traffic": traffic.elements,
    }


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_skipped_layer_is_moved_by_nothing(stage: int) -> None:
    """Neither momentum nor decay, at every ZeRO stage; the layers that run do move."""
    recipe = tiny(
        "gpt2", "unused", method={"name": "pld", "gamma": 1000.0, "theta": 0.3}, deepspeed=zero(stage), weight_decay=0.1
    )
    (result, _) = pool(2).run(step_and_look, recipe, 0, 8)
    skipped = 0
    for plan, before, after in zip(result["plans"][1:], result["states"], result["states"][1:], strict=False):
        for layer in range(6):
            name = f"model.transformer.h.{layer}.mlp.c_fc.weight"
            if not after[name][WEIGHT].numel():
                continue  # the other rank has it
            same = [torch.equal(before[name][key], after[name][key]) for key in before[name]]
            assert same == [layer not in plan.layer_map] * 3
            skipped += same[0]
    assert skipped


@pytest.mark.parametrize("stage", [1, 2])
def test_a_frozen_prefix_is_not_communicated(stage: int) -> None:
    recipe = tiny("bert", "unused", method={"name": "mslt", "blocks": 3}, deepspeed=zero(stage))
    frozen, joint = (pool(2).run(step_and_look, recipe, number, 1)[0] for number in (2, 3))
    share = recipe_trainable(recipe, 2) / recipe_trainable(recipe, 3)
    assert share < 0.4
    assert frozen["traffic"] == pytest.approx(share * joint["traffic"], rel=0.05)


def recipe_trainable(recipe: Recipe, stage_number: int) -> int:
    stage = recipe.schedule().stages[stage_number]
    return trainable_parameters(stage.shape, stage.unique_layers, stage.frozen)


@pytest.mark.parametrize("stage", [1, 3])
def test_a_frozen_prefix_stays_bit_for_bit_and_holds_no_moments(stage: int) -> None:
    recipe = tiny("bert", "unused", method={"name": "mslt", "blocks": 3}, deepspeed=zero(stage, "bf16"))
    results = pool(2).run(step_and_look, recipe, 1, 3)
    assert sum(result["optimizer"] for result in results) == recipe_trainable(recipe, 1)
    first, last = results[0]["states"][0], results[0]["states"][-1]
    frozen = [name for name in first if ".layer.0." in name or ".layer.1." in name or "embeddings" in name]
    assert len(frozen) == 2 * 16 + 5
    for name in frozen:
        assert set(last[name]) == {WEIGHT}
        assert torch.equal(first[name][WEIGHT], last[name][WEIGHT])
    moving = first["model.bert.encoder.layer.2.output.dense.weight"][WEIGHT]
    assert not torch.equal(moving, last["model.bert.encoder.layer.2.output.dense.weight"][WEIGHT])
