"""What a step may do another way without training otherwise: chunks, micro-batches, checkpoints, compiled layers."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from batches import model_and_batch
from planned import batch, shape
from recipes import tiny
from small_models import build, filled

from apollo_ds.growth.stage_model import build_for
from apollo_ds.models.pretraining import PretrainingModel


def test_a_dropped_block_is_the_identity_and_scaling_is_unbiased() -> None:
    model = build(shape("gpt2"), 4, seed=0).eval()
    hidden = torch.randn(2, 8, 32)

    def run(order: tuple[int, ...], scales: tuple[float, ...]) -> torch.Tensor:
        model.run_in_order(order, scales)
        result = hidden
        for block in model.layers:
            result = block(result)
        return result

    chance = 0.7
    whole, without = run((0, 1), ()), run((0,), ())
    with torch.no_grad():
        dropped_or_scaled = chance * run((0, 1), (1.0, 1 / chance)) + (1 - chance) * without
    assert torch.allclose(dropped_or_scaled, whole, atol=1e-5)


def test_a_tied_layer_can_be_given_the_mean_of_its_gradients() -> None:
    of = shape("gpt2")
    summed, averaged = (build(of, 1, seed=0) for _ in range(2))
    averaged.average_tied_gradients()
    for model in (summed, averaged):
        model.run_in_order((0, 0, 0, 0))
        model(*batch(of)).backward()
    for a, b in zip(summed.layers[0].parameters(), averaged.layers[0].parameters(), strict=True):
        assert torch.allclose(a.grad / 4, b.grad, atol=1e-7)


def count_call(calls: list[int], index: int, *_: Any) -> None:
    calls[index] += 1


def test_a_checkpointed_layer_runs_again_once_for_each_time_it_ran() -> None:
    stage = replace(tiny("bert", "unused").schedule().stages[0], unique_layers=2)
    _, batch = model_and_batch("bert", 2)
    for checkpointed, times in ((False, 1), (True, 2)):
        model = filled(build_for(stage, activation_checkpointing=checkpointed), seed=1).train()
        assert isinstance(model, PretrainingModel)
        model.run_in_order((0, 0, 1, 1, 1))
        calls = [0, 0]
        for index in range(2):
            attention = model.layers[index].attention
            attention.register_forward_hook(partial(count_call, calls, index))
        model(*batch).backward()
        assert calls == [2 * times, 3 * times]


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
