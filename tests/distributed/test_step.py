"""What a step may do another way without training otherwise: chunks, micro-batches, checkpoints, offloading."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from batches import model_and_batch
from engines import offload
from ranks import pool
from recipes import tiny, zero
from runs import losses, train, train_in_chunks
from torch.profiler import ProfilerActivity, profile

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.models.loss import IGNORED
from apollo_ds.models.pretraining import skeleton
from apollo_ds.planning.micro_batch import micro_batch_of

SCRATCH = {"method": "scratch", "eval_every": 100, "save_every": 100}


@pytest.mark.parametrize(("family", "stage", "precision"), [("gpt2", 1, "fp32"), ("bert", 3, "bf16")])
def test_an_engine_trains_alike_with_logits_in_chunks(family: str, stage: int, precision: str, tmp_path: Path) -> None:
    at_once, in_chunks = (
        tiny(family, tmp_path / name, **SCRATCH, steps=4, micro_batch_size=8, deepspeed=zero(stage, precision))
        for name in ("at once", "in chunks")
    )
    pool(2).run(train, at_once)
    pool(2).run(train_in_chunks, in_chunks)
    tolerance = 1e-5 if precision == "fp32" else 2e-2
    assert torch.allclose(torch.tensor(losses(in_chunks)), torch.tensor(losses(at_once)), atol=tolerance, rtol=0)


ACCUMULATED = {"zero0": zero(0), "zero1": zero(1), "zero2-offload": offload(2), "zero3": zero(3)}


@pytest.mark.parametrize("configuration", ACCUMULATED.values(), ids=ACCUMULATED)
def test_training_does_not_depend_on_how_many_samples_go_at_once(configuration: dict[str, Any], tmp_path: Path) -> None:
    model = {**tiny("bert", "unused").model.model_dump(), "num_layers": 3}
    grown = {"model": model, "method": {"name": "apollo", "layers": [1, 3], "grow_at": [0.5]}, "steps": 8}

    def at_once(samples: int) -> Recipe:
        return tiny("bert", tmp_path / str(samples), **grown, micro_batch_size=samples, deepspeed=configuration)

    accumulated, whole = at_once(1), at_once(4)
    schedule = accumulated.schedule()
    plans = [schedule.at(step) for step in range(schedule.total_steps)]
    counts = {4 // micro_batch_of(accumulated, schedule.stages[plan.stage], plan, 2) for plan in plans}
    assert len(counts) > 1
    for recipe in (accumulated, whole):
        pool(2).run(train, recipe)
    tolerance = 2e-2 if "bf16" in configuration else 1e-5
    assert torch.allclose(torch.tensor(losses(accumulated)), torch.tensor(losses(whole)), atol=tolerance, rtol=0)


@pytest.mark.parametrize(("family", "zero_stage"), [("bert", 1), ("gpt2", 2), ("gpt2", 3)])
def test_checkpointed_activations_train_shared_layers_alike(family: str, zero_stage: int, tmp_path: Path) -> None:
    shape = {**tiny(family, "unused").model.model_dump(), "dropout": 0.1}
    plain, checkpointed = (
        tiny(family, tmp_path / str(on), steps=8, model=shape, activation_checkpointing=on, deepspeed=zero(zero_stage))
        for on in (False, True)
    )
    for recipe in (plain, checkpointed):
        pool(2).run(train, recipe)
    assert torch.allclose(torch.tensor(losses(checkpointed)), torch.tensor(losses(plain)), atol=1e-5, rtol=0)


def losses_of_few_labels(processes: Processes, recipe: Recipe) -> tuple[float, float, float, int]:
    """Held-out and training loss of samples that lack labels, the second rank's more of them; their sum, and labels."""
    engine = Engine(skeleton(recipe.model, 6), recipe.engine_options(processes.world_size), processes, seed=1)
    _, batch = model_and_batch("bert", 4)
    labels, plan = batch[2], recipe.schedule().at(0)
    labels[: 1 + 2 * processes.rank, 1:] = IGNORED
    held_out = engine.evaluate(iter([batch]), plan.layer_map)
    with torch.no_grad():
        summed = float(engine.model(*batch)) * labels.numel()
    trained = float(engine.train_step([batch], [plan]).loss)
    engine.close()
    return held_out, trained, summed, int((labels != IGNORED).sum())


def test_losses_are_means_over_the_tokens_that_have_labels() -> None:
    found = pool(2).run(losses_of_few_labels, tiny("bert", "unused", method="scratch", deepspeed=zero(1)))
    _, _, sums, counts = zip(*found, strict=True)
    assert counts[1] < counts[0] < 4 * 5
    for held_out, trained, summed, count in found:
        assert held_out == pytest.approx(sum(sums) / sum(counts), rel=1e-6)
        assert trained == pytest.approx(summed / count, rel=1e-6)


def offloaded(processes: Processes, recipe: Recipe) -> list[float]:
    """Losses of one layer that runs several times, at every depth."""
    model = skeleton(recipe.model, 1)
    if recipe.activation_checkpointing:
        model.checkpoint_activations()
    engine = Engine(model, recipe.engine_options(processes.world_size), processes, seed=1)
    _, batch = model_and_batch("bert", 4)
    plan = recipe.schedule().at(0)
    depths = [1, 6, 3, 5, 2]
    results = [
        float(engine.train_step([batch], [replace(plan, layer_map=(0,) * depth, learning_rate=1e-3)]).loss)
        for depth in depths
    ]
    engine.close()
    return results


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize(("stage", "weights"), [(2, False), (3, False), (3, True)])
def test_what_is_offloaded_to_the_cpu_trains_shared_layers_alike(stage: int, weights: bool, checkpointed: bool) -> None:
    """The optimizer, and under ZeRO 3 the weights too."""
    config = offload(stage)
    if weights:
        config["zero_optimization"]["offload_param"] = {"device": "cpu"}
    (away, _), (here, _) = (
        pool(2).run(offloaded, tiny("bert", "unused", deepspeed=deepspeed, activation_checkpointing=remembers_less))
        for deepspeed, remembers_less in ((config, checkpointed), (zero(stage, "bf16"), False))
    )
    assert torch.allclose(torch.tensor(away), torch.tensor(here), atol=2e-3, rtol=0)
    assert len(set(here)) == len(here)


def work_of_steps(processes: Processes, recipe: Recipe, depths: list[int]) -> list[Counter[str]]:
    """The operations of each step of one layer that runs at these depths in turn, by name, and their sum of FLOPs."""
    engine = Engine(skeleton(recipe.model, 1), recipe.engine_options(processes.world_size), processes, seed=1)
    _, batch = model_and_batch(recipe.model.family, 4)
    plan = recipe.schedule().at(0)
    found = []
    for depth in depths:
        with profile(activities=[ProfilerActivity.CPU], with_flops=True) as profiler:
            engine.train_step([batch], [replace(plan, layer_map=(0,) * depth)])
        events = [event for event in profiler.key_averages() if event.key.startswith("aten::")]
        found.append(Counter({event.key: event.count for event in events}))
        found[-1]["FLOPs"] = sum(event.flops for event in events)
    engine.close()
    return found


@pytest.mark.parametrize(("family", "stage"), [("bert", 0), ("gpt2", 1)])
def test_a_drawn_depth_costs_its_layers_and_nothing_else(family: str, stage: int) -> None:
    """Operation for operation: the same as at a fixed depth, and as many more for each layer that runs more."""
    recipe = tiny(family, "unused", deepspeed=zero(stage))
    drawn, fixed = [2, 6, 1, 4, 3, 5, 2, 1, 6], [1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    work: dict[int, Counter[str]] = {}
    for depths in (drawn, fixed):
        (counted,) = pool(1).run(work_of_steps, recipe, depths)
        for depth, counts in list(zip(depths, counted, strict=True))[1:]:  # the first step sets things up
            assert work.setdefault(depth, counts) == counts
    for name in work[6]:
        a_layer = work[6][name] - work[5][name]
        # From 2 on: there is nothing to add up of a gradient that comes once.
        assert [work[depth][name] - work[2][name] for depth in range(2, 7)] == [a_layer * n for n in range(5)], name
    assert work[6]["FLOPs"] > work[5]["FLOPs"]
