"""Scales that know the depth: their numbers, and that they are what runs, at each position, also computed again."""

from math import sqrt
from typing import Any

import pytest
import torch
from families import VARIANTS, batch_of, plus_first, shape_of, small_map
from growths import randomised
from pydantic import ValidationError
from small_models import build
from torch import Tensor
from torch._dynamo.backends.debugging import aot_eager

from apollo_ds.models.depth_scale import (
    block_epsilon_factor,
    block_learning_rate_factor,
    layernorm_scale,
    residual_scale,
    scale_of,
    scales_at,
)
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.pretraining import PretrainingModel
from apollo_ds.models.shape import ModelShape

KINDS: dict[str, dict[str, Any]] = {
    "depth_sqrt": {"residual_scale": "depth_sqrt"},
    "complete_p": {"residual_scale": "complete_p", "complete_p_alpha": 0.75},
    "layernorm_scale": {"layernorm_scale": True},
    "both": {"residual_scale": "complete_p", "layernorm_scale": True},
}
CASES = [
    (name, kind)
    for name, family in VARIANTS.items()
    for kind, keys in KINDS.items()
    if family.is_pre_norm or "layernorm_scale" not in keys
]


def shape(**keys: Any) -> ModelShape:
    return shape_of(FAMILIES["gpt2"], 12, **keys)


def test_the_numbers_are_the_papers() -> None:
    assert residual_scale(shape(), 12) == 1
    assert residual_scale(shape(residual_scale="depth_sqrt"), 8) == 1 / 4
    complete = shape(residual_scale="complete_p")
    assert [residual_scale(complete, layers) for layers in (2, 4, 12)] == [1, 1 / 2, pytest.approx(1 / 6)]
    assert residual_scale(shape(residual_scale="complete_p", complete_p_alpha=0.5, base_layers=3), 12) == 1 / 2
    assert [layernorm_scale(shape(layernorm_scale=True), position) for position in (0, 3, 8)] == [1, 1 / 2, 1 / 3]


def test_completep_s_rates_and_epsilon_of_blocks() -> None:
    half = shape(residual_scale="complete_p", complete_p_alpha=0.5)
    assert block_learning_rate_factor(half, 8) == 1 / 2
    assert block_epsilon_factor(half, 8) == 1 / 2
    whole = shape(residual_scale="complete_p")
    assert block_learning_rate_factor(whole, 8) == 1
    assert block_epsilon_factor(whole, 8) == 1 / 4
    for plain in (shape(), shape(residual_scale="depth_sqrt")):
        assert block_learning_rate_factor(plain, 8) == block_epsilon_factor(plain, 8) == 1


def test_a_part_that_has_risen_multiplies_the_branches_only() -> None:
    scales = scales_at(shape(residual_scale="complete_p", layernorm_scale=True), 4, (0, 3), (1.0, 0.5))
    assert [scale.branches for scale in scales] == [0.5, 0.25]
    assert [scale.normalisations for scale in scales] == [1.0, 0.5]


@pytest.mark.parametrize("key", [{"complete_p_alpha": 0.75}, {"base_layers": 4}])
def test_a_key_of_completep_needs_it(key: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="has no effect without residual_scale: complete_p"):
        shape(residual_scale="depth_sqrt", **key)
    assert shape(residual_scale="complete_p", **key)


def folded(model: PretrainingModel, layers: int, depth: int) -> PretrainingModel:
    """The same function without scales and without shared layers: each position has its scale in its weights."""
    plain = model.shape.model_copy(update={"num_layers": depth, "residual_scale": "none", "layernorm_scale": False})
    scales = scales_at(model.shape, depth, range(depth))
    other = build(plain, depth, seed=1)
    layer_map, blocks = small_order(model, layers, depth), f"model.{model.family.blocks}."
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            index, _, rest = name.removeprefix(blocks).partition(".")
            if not name.startswith(blocks):
                parameter.copy_(weights[name])
                continue
            weight = weights[f"{blocks}{layer_map[int(index)]}.{rest}"]
            parameter.copy_(weight * scale_of(model.family, name, scales[int(index)]))
    return other


def small_order(model: PretrainingModel, layers: int, depth: int) -> tuple[int, ...]:
    first = model.family.first_layer_is_unlike
    return small_map(model.family, "interpolate", layers - first, depth - first)


def gradients(model: PretrainingModel, batch: tuple[Tensor, ...]) -> list[Tensor]:
    model.zero_grad()
    model(*batch).backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_shared_layers_run_with_the_scale_of_each_position(family: str, kind: str) -> None:
    of = VARIANTS[family]
    layers, depth = plus_first(of, 2), plus_first(of, 4)
    model = randomised(build(shape_of(of, depth, **KINDS[kind]), layers, seed=0))
    batch = batch_of(model.shape)
    model.run_in_order(small_order(model, layers, depth))
    assert torch.allclose(model(*batch), folded(model, layers, depth)(*batch), rtol=1e-6)


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_a_layer_computes_again_with_the_scale_of_its_position(family: str, kind: str) -> None:
    of = VARIANTS[family]
    layers, depth = plus_first(of, 2), plus_first(of, 4)
    model = randomised(build(shape_of(of, depth, **KINDS[kind]), layers, seed=0)).train()
    batch = batch_of(model.shape)
    model.run_in_order(small_order(model, layers, depth))
    kept = gradients(model, batch)
    model.checkpoint_activations()
    again = gradients(model, batch)
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-6) for one, other in zip(kept, again, strict=True))


def test_where_layers_are_skipped_the_others_keep_their_scales() -> None:
    of = FAMILIES["gpt2"]
    model = randomised(build(shape_of(of, 4, **KINDS["both"]), 4, seed=0))
    batch = batch_of(model.shape)
    whole = folded(model, 4, 4)
    for order in ((0, 3), (1, 2, 3)):
        model.run_in_order(order, positions=order, drawn_depth=4)
        whole.run_in_order(order)
        assert torch.allclose(model(*batch), whole(*batch), rtol=1e-6)


def test_without_a_scale_nothing_is_hooked() -> None:
    model = build(shape(), 2, seed=0)
    assert model.layers.hooks is None
    assert all(block is model.layers[i] for i, block in enumerate(model.layers))
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("family", ["gpt2", "modernbert"])
def test_fresh_weights_are_not_made_smaller_by_the_depth_twice(family: str) -> None:
    of, depth = FAMILIES[family], 8
    plain = dict(build(shape_of(of, depth), 2, seed=0).named_parameters())
    for name, weight in build(shape_of(of, depth, residual_scale="complete_p"), 2, seed=0).named_parameters():
        factor = sqrt(2 * depth) if of.is_residual_output(name) else 1.0
        assert torch.allclose(weight, plain[name] * factor), name


@pytest.mark.parametrize("checkpointed", [False, True])
def test_compiled_layers_take_any_scale(checkpointed: bool) -> None:
    compiled: list[int] = []

    def count(graph: Any, inputs: Any) -> Any:
        compiled.append(1)
        return aot_eager(graph, inputs)

    of = FAMILIES["gpt2"]
    model, plain = (randomised(build(shape_of(of, 6, **KINDS["both"]), 2, seed=0)).train() for _ in range(2))
    if checkpointed:
        model.checkpoint_activations()
    model.compile_blocks(count)
    batch = batch_of(model.shape)
    for number, depth in enumerate((2, 3, 4, 6)):
        for each in (model, plain):
            each.run_in_order(tuple(i * 2 // depth for i in range(depth)), risen=(0.5,) * depth)
        found, expected = (gradients(each, batch) for each in (model, plain))
        assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(found, expected, strict=True))
        if number == 0:
            once = len(compiled)
    assert len(compiled) == once > 0
