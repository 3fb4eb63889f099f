"""More layers: what each new one is, and how it learns."""

from typing import Any, get_args

import pytest
import torch
from families import plus_first, small_map
from growths import depth_map, grown, loss, randomised, shape
from hypothesis import given
from hypothesis import strategies as st
from small_models import build

from apollo_ds.growth.weights_and_moments import Growth
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.fused import split
from apollo_ds.models.layer_map import LAYER_MAPS, duplicate_middle, duplicate_top, interpolate, middle_block, stack
from apollo_ds.schedule.stage import NewLayers

FAMILY_NAMES = ["bert", "gpt2"]


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_interpolation_changes_the_loss_where_the_counts_do_not_divide(family: str) -> None:
    small = randomised(build(shape(family, 6), 4, seed=1))
    large, _ = grown(small, Growth(depth_map(family, interpolate(4, 6))), shape(family, 6))
    assert torch.equal(loss(small, interpolate(4, 6)), loss(large, interpolate(6, 6)))
    assert not torch.equal(loss(small, interpolate(4, 9)), loss(large, interpolate(6, 9)))


@pytest.mark.parametrize(
    ("layer_map", "source", "target", "expected"),
    [
        (stack, 3, 8, (0, 1, 2, 0, 1, 2, 1, 2)),
        (duplicate_top, 3, 5, (0, 1, 2, 1, 2)),
        (duplicate_top, 6, 9, (0, 1, 2, 3, 4, 5, 3, 4, 5)),
        (duplicate_middle, 4, 6, (0, 1, 2, 1, 2, 3)),
        (duplicate_middle, 6, 9, (0, 1, 2, 3, 1, 2, 3, 4, 5)),
        (middle_block, 6, 9, (0, 1, 2, 0, 1, 2, 3, 4, 5)),
        (middle_block, 9, 12, (0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8)),
        (duplicate_middle, 1, 3, (0, 0, 0)),
    ],
)
def test_layer_maps_of_the_rivals(layer_map: Any, source: int, target: int, expected: tuple[int, ...]) -> None:
    assert layer_map(source, target) == expected


@given(st.sampled_from(sorted(LAYER_MAPS)), st.integers(1, 64), st.integers(1, 64))
def test_each_new_layer_is_the_whole_of_its_source(name: str, a: int, b: int) -> None:
    source, target = min(a, b), max(a, b)
    growth = depth_map("bert", LAYER_MAPS[name](source, target))
    for layer in range(target):
        parameter = f"{growth.blocks}.{layer}.output.dense.weight"
        assert growth.source(parameter) == f"{growth.blocks}.{growth.layer_map[layer]}.output.dense.weight"
    old_ones = [i for i in range(target) if not growth.is_new(f"{growth.blocks}.{i}.x")]
    assert [growth.layer_map[i] for i in old_ones] == list(dict.fromkeys(growth.layer_map))
    assert growth.source("model.cls.predictions.bias") == "model.cls.predictions.bias"


@pytest.mark.parametrize(("kind", "alike"), [("zero", True), ("silent", False)])
def test_silenced_copies_of_one_layer_learn_the_same_and_fresh_ones_do_not(kind: Any, alike: bool) -> None:
    small = randomised(build(shape("gpt2", 3), 1, seed=1))
    large, _ = grown(small, Growth(depth_map("gpt2", stack(1, 3), new_layers=kind)), shape("gpt2", 3))
    loss(large, (0, 1, 2)).backward()
    for branch in ("attn", "mlp"):
        first, second = (
            large.get_parameter(f"model.transformer.h.{layer}.{branch}.c_proj.weight").grad for layer in (1, 2)
        )
        assert first is not None
        assert second is not None
        assert first.any()
        assert torch.allclose(first, second) == alike


def test_random_new_layers_are_left_as_initialised() -> None:
    small = randomised(build(shape("bert", 4), 2, seed=1))
    large, states = grown(small, Growth(depth_map("bert", stack(2, 4), new_layers="random")), shape("bert", 4))
    fresh = dict(build(shape("bert", 4), 4, seed=9).named_parameters())
    name = "model.bert.encoder.layer.{}.output.dense.weight"
    assert torch.equal(dict(large.named_parameters())[name.format(3)], fresh[name.format(3)])
    assert torch.equal(dict(large.named_parameters())[name.format(1)], dict(small.named_parameters())[name.format(1)])
    assert not states[name.format(3)]["exp_avg"].any()


@pytest.mark.parametrize("map_name", LAYER_MAPS)
@pytest.mark.parametrize("new_layers", get_args(NewLayers))
@pytest.mark.parametrize("family", FAMILIES)
def test_every_coordinate_of_every_layer_learns(family: str, new_layers: Any, map_name: str) -> None:
    """Within three steps each has had a gradient: none that is zero on both sides of what it is multiplied with."""
    kind = FAMILIES[family]
    if new_layers == "identity" and (kind.is_gated or not kind.is_pre_norm):
        pytest.skip("refused for a family that normalises what its layers put out, or has gates")
    layers_before, target = plus_first(kind, 2), shape(family, plus_first(kind, 4))
    small = randomised(build(target, layers_before, seed=1))
    added = small_map(kind, map_name, 2, 4)
    growth = Growth(depth_map(family, added, new_layers=new_layers, heads=target.num_heads))
    large, _ = grown(small, growth, target)
    layers = {n: p for n, p in large.named_parameters() if growth.depth.layer_index(n) is not None}
    optimizer = torch.optim.Adam(large.parameters(), lr=1e-2)
    had = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in layers.items()}
    for _ in range(3):
        optimizer.zero_grad()
        loss(large, tuple(range(len(added)))).backward()
        for name, parameter in layers.items():
            had[name] |= parameter.grad.abs() > 1e-12
        optimizer.step()
    for name, coordinates in had.items():
        parts = list(split(coordinates, kind.dimensions(name), target.num_heads))
        if name.endswith("key.bias") or (len(parts) == 3 and coordinates.dim() == 1):
            del parts[len(parts) // 2]  # a key's bias adds the same to all scores of a query: softmax ignores that
        assert all(part.all() for part in parts), name
