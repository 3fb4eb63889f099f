"""Growth operators as pure functions: what they keep, what they change, and what the gradients say about moments."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from apollo_ds.growth.between_stages import width_between
from apollo_ds.growth.depth import DepthMap
from apollo_ds.growth.state import COHORT, Counters
from apollo_ds.growth.state_map import Growth
from apollo_ds.growth.width import AxisMap, WidthMap
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.layer_map import LAYER_MAPS, duplicate_middle, duplicate_top, interpolate, stack
from apollo_ds.models.pretraining import PretrainingModel, build
from apollo_ds.models.shape import ModelShape

FAMILY_NAMES = ["bert", "gpt2"]


def shape(family: str, layers: int, width: int = 1, ffn: int = 1) -> ModelShape:
    return ModelShape(
        family=family,
        num_layers=layers,
        hidden_size=8 * width,
        num_heads=2 * width,
        intermediate_size=12 * ffn,
        vocab_size=31,
        max_position_embeddings=8,
    )


def randomised(model: PretrainingModel) -> PretrainingModel:
    """Away from the zero biases and unit normalisations of a fresh model, which would hide mistakes."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return model


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, 31, (3, 8), generator=generator)
    return ids, torch.tensor([[1, 4, 6]] * 3), torch.randint(0, 31, (3, 3), generator=generator)


def loss(model: PretrainingModel, layer_map: tuple[int, ...]) -> Tensor:
    model.run_in_order(layer_map)
    return model(*batch())


def depth_map(family: str, layer_map: tuple[int, ...], **kind: Any) -> DepthMap:
    return DepthMap(layer_map, f"model.{FAMILIES[family].blocks}", family, **kind)


def applied(growth: Growth, name: str, old: dict[str, dict[str, Tensor]]) -> dict[str, Tensor | None]:
    """The new parameter's tensors, from an old state that has taken 100 steps."""
    before = Counters(adam_step=100)
    sources = growth.sources(name, set(old))
    blank = {source: torch.zeros_like(old[source]["weight"], dtype=torch.uint8) for source in sources}
    return {
        key: growth.apply(name, key, blank if key == COHORT else {s: old[s][key] for s in sources}, before)
        for key in growth.counters(before).tensors
    }


def grown(
    model: PretrainingModel, growth: Growth, target: ModelShape, moments: dict[str, dict[str, Tensor]] | None = None
) -> tuple[PretrainingModel, dict[str, dict[str, Tensor | None]]]:
    """The model that a growth leads to, and the new state of each parameter."""
    old = {
        name: {"weight": p.detach(), **(moments or {}).get(name, dict.fromkeys(("exp_avg", "exp_avg_sq"), p.detach()))}
        for name, p in model.named_parameters()
    }
    new = build(target, len(growth.depth.layer_map), seed=9)
    states = {}
    with torch.no_grad():
        for name, parameter in new.named_parameters():
            states[name] = applied(growth, name, old)
            if states[name]["weight"] is not None:
                parameter.copy_(states[name]["weight"])
    return new, states


@pytest.mark.parametrize("family", FAMILY_NAMES)
@settings(max_examples=25, deadline=None)
@given(old=st.integers(1, 16), factor=st.integers(1, 4), data=st.data())
def test_interpolation_keeps_the_loss_to_the_bit_at_every_depth(family: str, old: int, factor: int, data: Any) -> None:
    new = old * factor
    target = data.draw(st.integers(new, 64))
    small = randomised(build(shape(family, 64), old, seed=1))
    large, _ = grown(small, Growth(depth_map(family, interpolate(old, new))), shape(family, 64))
    for depth in {new, target, data.draw(st.integers(new, target))}:
        with torch.no_grad():
            before, after = loss(small, interpolate(old, depth)), loss(large, interpolate(new, depth))
        assert torch.equal(before, after), (old, new, depth)


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


@pytest.mark.parametrize("kind", ["zero", "silent", "identity"])
def test_silent_new_layers_keep_a_pre_norm_model(kind: Any) -> None:
    small = randomised(build(shape("gpt2", 4), 2, seed=1))
    large, _ = grown(small, Growth(depth_map("gpt2", stack(2, 4), new_layers=kind)), shape("gpt2", 4))
    assert torch.equal(loss(small, (0, 1)), loss(large, (0, 1, 2, 3)))


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


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize(("width", "ffn"), [(2, 2), (3, 3), (1, 4), (2, 1)])
def test_tiled_width_preserves_the_function(family: str, width: int, ffn: int) -> None:
    small_shape, large_shape = shape(family, 2), shape(family, 2, width, ffn)
    maps = width_between(small_shape, large_shape, "tiled", seed=0)
    small = randomised(build(small_shape, 2, seed=1))
    large, _ = grown(small, Growth(depth_map(family, (0, 1)), maps), large_shape)
    assert maps is not None and maps.is_exact
    assert logits(large) == pytest.approx(logits(small), abs=1e-5)


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


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_width_gradients_are_the_old_ones_scaled_as_stated(family: str) -> None:
    small_shape, large_shape = shape(family, 2), shape(family, 2, 2, 2)
    maps = width_between(small_shape, large_shape, "tiled", seed=0)
    small = randomised(build(small_shape, 2, seed=1))
    loss(small, (0, 1)).backward()
    gradients = {n: {"exp_avg": p.grad, "exp_avg_sq": p.grad**2} for n, p in small.named_parameters()}
    growth = Growth(depth_map(family, (0, 1)), maps, moments="map_scaled")
    large, states = grown(small, growth, large_shape, gradients)
    loss(large, (0, 1)).backward()
    for name, parameter in large.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, states[name]["exp_avg"], atol=2e-6), name
        assert torch.allclose(parameter.grad**2, states[name]["exp_avg_sq"], atol=2e-6), name


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_scaled_moments_of_untied_copies_add_up_to_the_tied_gradient(family: str) -> None:
    """Untying a layer used k times shares its gradient out; the rule gives each copy the average share."""
    small = randomised(build(shape(family, 6), 2, seed=1))
    loss(small, interpolate(2, 6)).backward()
    tied = {n: p.grad for n, p in small.named_parameters()}
    moments = {n: {"exp_avg": g, "exp_avg_sq": g**2} for n, g in tied.items()}
    growth = Growth(depth_map(family, interpolate(2, 6)), moments="map_scaled")
    large, states = grown(small, growth, shape(family, 6), moments)
    loss(large, tuple(range(6))).backward()
    untied = {n: p.grad for n, p in large.named_parameters()}
    for name, gradient in tied.items():
        index = growth.depth.layer_index(name)
        copies = [name] if index is None else [growth.depth.renamed(name, 3 * index + i) for i in range(3)]
        assert torch.allclose(sum(untied[copy] for copy in copies), gradient, atol=1e-5), name
        for copy in copies:
            assert torch.allclose(states[copy]["exp_avg"], gradient / len(copies))
            assert torch.allclose(states[copy]["exp_avg_sq"], gradient**2 / len(copies) ** 2)


def moments_of(rule: Any, layer: int) -> dict[str, Tensor | None]:
    """State of one parameter after 2 -> 4 by interpolation, its moments the number of the layer, plus one."""
    growth = Growth(depth_map("bert", interpolate(2, 4)), moments=rule)
    name = f"{growth.depth.blocks}.{{}}.output.dense.bias"
    old = {
        name.format(i): {key: torch.full((3,), i + 1.0) for key in ("weight", "exp_avg", "exp_avg_sq")}
        for i in range(2)
    }
    return applied(growth, name.format(layer), old)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("map", [1, 1, 2, 2]),
        ("map_scaled", [0.5, 0.5, 1, 1]),
        ("zero_new", [1, 0, 2, 0]),
        ("reset", [0, 0, 0, 0]),
        ("keep_index", [1, 2, 0, 0]),
    ],
)
def test_rules_for_the_moments(rule: Any, expected: list[float]) -> None:
    states = [moments_of(rule, layer) for layer in range(4)]
    assert [float(state["weight"][0]) for state in states] == [1, 1, 2, 2]
    assert [float(state["exp_avg"][0]) for state in states] == expected


@pytest.mark.parametrize(("rule", "young"), [("zero_new", [0, 1, 0, 1]), ("keep_index", [0, 0, 1, 1])])
def test_coordinates_without_moments_form_a_cohort(rule: Any, young: list[int]) -> None:
    assert [int(moments_of(rule, layer)[COHORT][0]) for layer in range(4)] == young
    assert Growth(depth_map("bert", (0, 0)), moments=rule).counters(Counters(adam_step=100)).births == (0, 100)


def test_rules_that_need_no_cohort_make_none() -> None:
    for rule in ("map", "map_scaled", "reset"):
        assert COHORT not in moments_of(rule, 0)


def test_new_width_coordinates_start_from_zero_in_a_cohort_of_their_own() -> None:
    maps = WidthMap("gpt2", {"ffn": AxisMap.tiled(2, 4)})
    growth = Growth(depth_map("gpt2", (0,)), maps, moments="zero_new")
    name = f"{growth.depth.blocks}.0.mlp.c_fc.bias"
    state = applied(growth, name, {name: dict.fromkeys(("weight", "exp_avg", "exp_avg_sq"), torch.ones(2))})
    assert state["weight"].tolist() == [1, 1, 1, 1]
    assert state["exp_avg"].tolist() == [1, 1, 0, 0]
    assert state[COHORT].tolist() == [0, 0, 1, 1]
