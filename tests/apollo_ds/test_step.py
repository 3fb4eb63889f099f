"""What a step may do another way without training otherwise: chunks, micro-batches, checkpoints, compiled layers."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from ranks import pool
from recipes import tiny, zero
from runs import losses, train
from test_engine import offload
from torch.profiler import ProfilerActivity, profile

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.growth.stage_model import build_for
from apollo_ds.models.loss import IGNORED, LOGITS_AT_ONCE
from apollo_ds.models.pretraining import Batch, PretrainingModel, build
from apollo_ds.models.shape import ModelShape
from apollo_ds.planning.micro_batch import activation_bytes, micro_batch_of

FAMILIES = ["bert", "roberta_prelayernorm", "gpt2"]


def model_and_batch(family: str, samples: int) -> tuple[PretrainingModel, Batch]:
    """Six layers of random weights, and samples of which one scored position in seven has no label."""
    shape = tiny("gpt2" if family == "gpt2" else "bert", "unused").model.model_copy(update={"family": family})
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(shape.vocab_size, (samples, 32), generator=random)
    scored = 32 if family == "gpt2" else 5
    labels = torch.randint(shape.vocab_size, (samples, scored), generator=random)
    labels.flatten()[::7] = IGNORED
    return build(shape, 6, seed=1), (ids, torch.arange(scored).expand(samples, scored), labels)


def train_in_chunks(processes: Processes, recipe: Recipe) -> None:
    with patch.dict(LOGITS_AT_ONCE, cpu=24 * recipe.model.vocab_size):
        train(processes, recipe)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize(("stage", "precision"), [(1, "fp32"), (3, "fp32"), (1, "bf16"), (3, "bf16")])
def test_an_engine_trains_alike_with_logits_in_chunks(stage: int, precision: str, family: str, tmp_path: Path) -> None:
    at_once, in_chunks = (
        tiny(family, tmp_path / name, steps=12, micro_batch_size=8, deepspeed=zero(stage, precision))
        for name in ("at once", "in chunks")
    )
    pool(2).run(train, at_once)
    pool(2).run(train_in_chunks, in_chunks)
    tolerance = 1e-5 if precision == "fp32" else 2e-2
    assert torch.allclose(torch.tensor(losses(in_chunks)), torch.tensor(losses(at_once)), atol=tolerance, rtol=0)


def test_a_step_of_fewer_layers_takes_more_samples_at_once() -> None:
    recipe = tiny("gpt2", "unused", global_batch_size=48, micro_batch_size=4)
    schedule = recipe.schedule()
    plans = [schedule.at(step) for step in range(schedule.total_steps)]
    sizes = {plan.depth: micro_batch_of(recipe, schedule.stages[plan.stage], plan, 2) for plan in plans}
    assert sizes[6] == 4
    assert sizes[1] == 12  # the largest divisor of 24 that is no more than 4 * (6 + 1) / (1 + 1)
    stage = schedule.stages[0]
    room = 4 * activation_bytes(recipe, stage, 6)
    assert all(size * activation_bytes(recipe, stage, depth) <= room for depth, size in sizes.items())


def test_a_stage_that_learns_its_growth_is_not_checkpointed() -> None:
    recipe = tiny("gpt2", "unused", method="ligo", activation_checkpointing=True)
    learning = next(stage for stage in recipe.schedule().stages if stage.learning)
    plain = recipe.model_copy(update={"activation_checkpointing": False})
    assert activation_bytes(recipe, learning, 6) == activation_bytes(plain, learning, 6)
    assert activation_bytes(recipe, replace(learning, learning=None), 6) < activation_bytes(plain, learning, 6) / 5


def test_shorter_samples_and_frozen_layers_make_room_too() -> None:
    recipe = tiny("gpt2", "unused", global_batch_size=48, micro_batch_size=4)
    schedule = recipe.schedule()
    last = schedule.at(schedule.total_steps - 1)
    stage = schedule.stages[last.stage]
    assert micro_batch_of(recipe, stage, last, 1) == 4
    assert micro_batch_of(recipe, replace(stage, seq_len=16), last, 1) == 8
    assert micro_batch_of(recipe, stage, replace(last, first_trained=5), 1) == 12


def test_where_micro_batches_draw_their_depth_there_are_equally_many() -> None:
    method = {"name": "apollo", "layers": [1, 3, 6], "grow_at": [0.25, 0.5], "draw": "micro_step"}
    recipe = tiny("gpt2", "unused", method=method, global_batch_size=48)
    schedule = recipe.schedule()
    plans = [schedule.at(step) for step in range(schedule.total_steps)]
    assert {micro_batch_of(recipe, schedule.stages[plan.stage], plan, 1) for plan in plans} == {4}


ACCUMULATED = {"zero0": zero(0), "zero1": zero(1), "zero2-offload": offload(2), "zero3": zero(3)}


@pytest.mark.parametrize("configuration", ACCUMULATED.values(), ids=ACCUMULATED)
def test_training_does_not_depend_on_how_many_samples_go_at_once(configuration: dict[str, Any], tmp_path: Path) -> None:
    def at_once(samples: int) -> Recipe:
        return tiny("bert", tmp_path / str(samples), micro_batch_size=samples, deepspeed=configuration)

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
        tiny(family, tmp_path / str(flag), model=shape, activation_checkpointing=flag, deepspeed=zero(zero_stage))
        for flag in (False, True)
    )
    for recipe in (plain, checkpointed):
        pool(2).run(train, recipe)
    assert torch.allclose(torch.tensor(losses(checkpointed)), torch.tensor(losses(plain)), atol=1e-5, rtol=0)


def count_call(calls: list[int], index: int, *_: Any) -> None:
    calls[index] += 1


def test_a_checkpointed_layer_runs_again_once_for_each_time_it_ran() -> None:
    stage = replace(tiny("bert", "unused").schedule().stages[0], unique_layers=2)
    _, batch = model_and_batch("bert", 2)
    for checkpointed, times in ((False, 1), (True, 2)):
        model = build_for(stage, seed=1, activation_checkpointing=checkpointed).train()
        assert isinstance(model, PretrainingModel)
        model.run_in_order((0, 0, 1, 1, 1))
        calls = [0, 0]
        for index in range(2):
            attention = model.layers[index].attention
            attention.register_forward_hook(partial(count_call, calls, index))
        model(*batch).backward()
        assert calls == [2 * times, 3 * times]


def offloaded(processes: Processes, recipe: Recipe) -> list[float]:
    """Losses of one layer that runs several times, at every depth."""
    model = build(recipe.model, 1, seed=1)
    if recipe.activation_checkpointing:
        model.checkpoint_activations()
    engine = Engine(model, recipe, processes)
    _, batch = model_and_batch("bert", 4)
    plan = recipe.schedule().at(0)
    depths = [1, 6, 3, 5, 2, 4, 6, 1]
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


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_compiled_layers_in_another_order_are_not_compiled_again(family: str) -> None:
    model, batch = model_and_batch(family, 2)
    expected = {}
    orders = [(0, 1, 2, 3, 4, 5), (5, 5, 5), (0,), (3, 1), (2,) * 6]
    for order in orders:
        model.run_in_order(order)
        expected[order] = float(model(*batch).detach())
    torch._dynamo.reset()
    graphs: list[object] = []

    def count(graph: torch.fx.GraphModule, _inputs: object) -> Any:
        graphs.append(graph)
        return graph.forward

    model.compile_blocks(backend=count)
    for order in orders:
        model.run_in_order(order)
        loss = model(*batch)
        loss.backward()
        assert float(loss.detach()) == pytest.approx(expected[order], rel=1e-5)
    assert len(graphs) == 1
    for samples in (3, 4, 7, 5):  # a first other number of samples compiles for any number
        model.run_in_order((0, 3))
        model(*model_and_batch(family, samples)[1]).backward()
    assert len(graphs) == 2
    torch._dynamo.reset()


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_compiled_layers_may_be_checkpointed_too(family: str) -> None:
    torch._dynamo.reset()
    gradients = []
    for both in (False, True):
        model, batch = model_and_batch(family, 2)
        model.train()
        if both:
            model.checkpoint_activations()
            model.compile_blocks(backend="aot_eager")
        for order in ((0, 0, 1, 0), (5, 1), (0, 0, 1, 0)):
            model.run_in_order(order)
            model(*batch).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    plain, compiled = gradients
    assert plain.keys() == compiled.keys()
    for name, gradient in plain.items():
        assert torch.allclose(gradient, compiled[name], rtol=1e-4, atol=1e-6), name
    torch._dynamo.reset()


def work_of_steps(processes: Processes, recipe: Recipe, depths: list[int]) -> list[Counter[str]]:
    """The operations of each step of one layer that runs at these depths in turn, by name, and their sum of FLOPs."""
    engine = Engine(build(recipe.model, 1, seed=1), recipe, processes)
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


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("stage", [0, 1])
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


@pytest.mark.parametrize("family", ["bert", "roberta_prelayernorm", "gpt2"])
def test_fresh_matrices_have_the_initializer_range(family: str) -> None:
    sizes = {"num_layers": 1, "hidden_size": 128, "num_heads": 2, "intermediate_size": 256, "vocab_size": 300}
    model = build(ModelShape(family=family, initializer_range=0.09, **sizes), 1, seed=0)
    deviations = {name: float(p.detach().std()) for name, p in model.layers[0].named_parameters() if p.ndim == 2}
    assert deviations
    scaled = {name for name in deviations if name.endswith("c_proj.weight")}  # GPT-2's, by the root of 2 x layers
    assert all(0.085 < of * (2**0.5 if name in scaled else 1) < 0.095 for name, of in deviations.items())
