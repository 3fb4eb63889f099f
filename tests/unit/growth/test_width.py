"""Wider layers: what they keep of the function, what they change, and their gradients."""

from typing import Any

import pytest
import torch
from growths import batch, depth_map, grown, loss, randomised, shape
from small_models import build

from apollo_ds.growth.depth_and_width import width_between
from apollo_ds.growth.weights_and_moments import Growth
from apollo_ds.growth.width_map import AxisMap, WidthMap
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.pretraining import PretrainingModel

FAMILY_NAMES = ["bert", "gpt2"]


def logits(model: PretrainingModel) -> Any:
    model.run_in_order((0, 1))
    with torch.no_grad():
        return model.model(batch()[0]).logits.numpy()


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_net2net_preserves_the_function_along_the_feed_forward_and_heads(family: str) -> None:
    small_shape = shape(family, 2)
    maps = WidthMap(family, {"ffn": AxisMap.drawn(12, 29, seed=4)})
    large_shape = small_shape.model_copy(update={"intermediate_size": 29})
    small = randomised(build(small_shape, 2, seed=1))
    large, _ = grown(small, Growth(depth_map(family, (0, 1)), maps), large_shape)
    assert logits(large) == pytest.approx(logits(small), abs=1e-5)


def test_unequal_copies_of_the_hidden_units_do_not_and_say_so() -> None:
    small_shape, large_shape = shape("gpt2", 2), shape("gpt2", 2, 2, 2)
    maps = width_between(small_shape, large_shape, "net2net", seed=0)
    small = randomised(build(small_shape, 2, seed=1))
    large, _ = grown(small, Growth(depth_map("gpt2", (0, 1)), maps), large_shape)
    assert maps is not None and not maps.is_exact
    assert abs(logits(large) - logits(small)).max() > 1e-3


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_advanced_initialisation_takes_new_units_from_the_layer_above(family: str) -> None:
    small_shape, large_shape = shape(family, 2), shape(family, 2, 2, 2)
    maps = width_between(small_shape, large_shape, "aki", seed=0)
    plain = width_between(small_shape, large_shape, "tiled", seed=0)
    assert maps is not None and plain is not None
    small = randomised(build(small_shape, 2, seed=1))
    old = {name: p.detach() for name, p in small.named_parameters()}
    large, _ = grown(small, Growth(depth_map(family, (0, 1)), maps), large_shape)
    new = {name: p.detach() for name, p in large.named_parameters()}
    blocks = f"model.{FAMILIES[family].blocks}"
    bias = "intermediate.dense.bias" if family == "bert" else "mlp.c_fc.bias"
    assert torch.equal(new[f"{blocks}.0.{bias}"][:12], old[f"{blocks}.0.{bias}"])
    assert torch.equal(new[f"{blocks}.0.{bias}"][12:], old[f"{blocks}.1.{bias}"])
    top = f"{blocks}.1.{bias}"
    assert torch.equal(new[top], plain.weight(top, old[top]))


@pytest.mark.parametrize(("rule", "tolerance"), [("tiled", 1e-5), ("block_diagonal", 1e-5), ("uneven", 0.2)])
@pytest.mark.parametrize("family", FAMILIES)
def test_width_gradients_are_the_old_ones_scaled_as_stated(family: str, rule: Any, tolerance: float) -> None:
    """Of the rules that keep the function: the others' gradients are of another one. Uneven shares do so nearly."""
    small_shape, large_shape = shape(family, 2), shape(family, 2, 2, 2)
    maps = width_between(small_shape, large_shape, rule, seed=0)
    small = randomised(build(small_shape, 2, seed=1))
    loss(small, (0, 1)).backward()
    gradients = {n: {"exp_avg": p.grad, "exp_avg_sq": p.grad**2} for n, p in small.named_parameters()}
    growth = Growth(depth_map(family, (0, 1)), maps, moments="map_scaled")
    large, states = grown(small, growth, large_shape, gradients)
    loss(large, (0, 1)).backward()
    for name, parameter in large.named_parameters():
        assert parameter.grad is not None
        for power, moment in ((1, "exp_avg"), (2, "exp_avg_sq")):
            wanted = parameter.grad**power
            assert (wanted - states[name][moment]).norm() <= tolerance * power * wanted.norm() + 1e-6, name
