"""What becomes of Adam's moments: the rules, and what the gradients say about them."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from families import plus_first, small_map
from growths import applied, depth_map, grown, loss, randomised, shape
from small_models import build
from torch import Tensor

from apollo_ds.growth.counters import COHORT, Counters
from apollo_ds.growth.depth_and_width import growth_between
from apollo_ds.growth.weights_and_moments import Growth
from apollo_ds.growth.width_map import AxisMap, WidthMap
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.layer_map import LAYER_MAPS, interpolate
from apollo_ds.schedule.stage import GrowthRule, Stage

FAMILY_NAMES = list(FAMILIES)
PRE_NORM = [name for name, family in FAMILIES.items() if family.is_pre_norm]


def stage(family: str, layers: int, runs_at: int | None = None, **changes: Any) -> Stage:
    """A stage of so many layers that runs at one depth, or with each layer once."""
    depths = changes | {"depth_distribution": (*[0.0] * ((runs_at or layers) - layers), 1.0)}
    return Stage("m", steps=1, shape=shape(family, 6), unique_layers=layers, seq_len=8, **depths)


def growth_from(old: Stage, new: Stage, **rule: Any) -> Growth:
    new = replace(new, growth=GrowthRule(moments="map_scaled", **rule))
    return growth_between(old, new, f"model.{FAMILIES[new.shape.family].blocks}", seed=0)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_scaled_moments_of_untied_copies_add_up_to_the_tied_gradient(family: str) -> None:
    """Untying a layer used k times shares its gradient out; the rule gives each copy the average share."""
    kind, first = FAMILIES[family], plus_first(FAMILIES[family], 0)
    before, after = first + 2, first + 6
    small = randomised(build(shape(family, after), before, seed=1))
    loss(small, small_map(kind, "interpolate", 2, 6)).backward()
    tied = {n: p.grad for n, p in small.named_parameters()}
    moments = {n: {"exp_avg": g, "exp_avg_sq": g**2} for n, g in tied.items()}
    growth = growth_from(stage(family, before, runs_at=after), stage(family, after))
    large, states = grown(small, growth, shape(family, after), moments)
    loss(large, tuple(range(after))).backward()
    untied = {n: p.grad for n, p in large.named_parameters()}
    for name, gradient in tied.items():
        index = growth.depth.layer_index(name)
        copies = [i for i, source in enumerate(growth.depth.layer_map) if source == index]
        names = [growth.depth.renamed(name, i) for i in copies] or [name]
        assert len(names) == (1 if index is None or index < first else 3)
        assert torch.allclose(sum(untied[copy] for copy in names), gradient, atol=1e-5), name
        for copy in names:
            assert torch.allclose(states[copy]["exp_avg"], gradient / len(names))
            assert torch.allclose(states[copy]["exp_avg_sq"], gradient**2 / len(names) ** 2)


@pytest.mark.parametrize(
    ("runs_at", "tied_gradients", "share"), [(6, "sum", 1 / 3), (4, "sum", 1 / 2), (6, "mean", 1), (None, "sum", 1)]
)
def test_a_share_of_the_gradient_is_lost_only_where_it_was_added_up(
    runs_at: int | None, tied_gradients: Any, share: float
) -> None:
    old = stage("gpt2", 2, runs_at, tied_gradients=tied_gradients)
    assert growth_from(old, stage("gpt2", 6)).depth.gradient_share == pytest.approx(share)


@pytest.mark.parametrize("map_name", LAYER_MAPS)
@pytest.mark.parametrize("new_layers", ["zero", "silent", "identity"])
@pytest.mark.parametrize("family", PRE_NORM)
def test_scaled_moments_are_the_grown_model_s_own_gradients(family: str, new_layers: Any, map_name: str) -> None:
    """Where new layers leave the function as it is, and no layer ran twice, the old ones' gradients stay."""
    kind = FAMILIES[family]
    if new_layers == "identity" and kind.is_gated:
        pytest.skip("refused: it would never learn")
    before, after = plus_first(kind, 2), plus_first(kind, 4)
    small = randomised(build(shape(family, after), before, seed=1))
    loss(small, tuple(range(before))).backward()
    moments = {n: {"exp_avg": p.grad, "exp_avg_sq": p.grad**2} for n, p in small.named_parameters()}
    growth = growth_from(stage(family, before), stage(family, after), layer_map=map_name, new_layers=new_layers)
    large, states = grown(small, growth, shape(family, after), moments)
    assert loss(large, tuple(range(after))).item() == pytest.approx(loss(small, tuple(range(before))).item(), abs=1e-6)
    large.zero_grad()
    loss(large, tuple(range(after))).backward()
    for name, parameter in large.named_parameters():
        if not growth.depth.is_new(name):
            assert torch.allclose(parameter.grad, states[name]["exp_avg"], atol=1e-6), name


def moments_of(rule: Any, layer: int) -> dict[str, Tensor | None]:
    """State of one parameter after 2 -> 4 by interpolation, its moments the number of the layer, plus one."""
    growth = Growth(depth_map("bert", interpolate(2, 4), gradient_share=0.5), moments=rule)
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
