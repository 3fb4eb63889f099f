"""What the growths of methods leave as it is."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from growths import grown_between
from planned import batch, shape, stages

from apollo_ds.growth.counters import COHORT, Counters
from apollo_ds.growth.depth_and_width import growth_between
from apollo_ds.models.factor_names import factors_of
from apollo_ds.models.families import FAMILIES


def test_compound_grow_s_widening_is_exact_and_its_copies_part() -> None:
    before, after = stages("compound_grow", "bert")[:2]
    before = replace(before, unique_layers=after.unique_layers)
    small, large = grown_between(before, after)
    assert float(small(*batch(small.shape))) == pytest.approx(float(large(*batch(large.shape))), abs=1e-5)
    large(*batch(large.shape)).backward()
    gradient = large.model.get_parameter("bert.encoder.layer.0.intermediate.dense.weight").grad
    first, copy = gradient.chunk(2)
    assert not torch.allclose(first, copy, rtol=0.05)


@pytest.mark.parametrize("family", ["roberta_prelayernorm", "gpt2", "llama"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("staged", {}),
        ("staged", {"operators": ["width_and_depth"]}),
        ("staged", {"operators": ["depth", "width_and_depth"]}),
        ("net2net", {"width": "tiled"}),
    ],
    ids=str,
)
def test_growths_that_preserve_a_pre_norm_function(family: str, method: str, options: dict[str, Any]) -> None:
    planned = stages(method, family, of=shape(family, num_heads=4), **options)
    for before, after in pairwise(planned):
        old, new = grown_between(before, after)
        assert float(old(*batch(old.shape))) == pytest.approx(float(new(*batch(new.shape))), abs=2e-5)


@pytest.mark.parametrize("family", ["gpt2", "roberta_prelayernorm", "llama"])
def test_doubling_both_at_once_scales_moments_as_the_gradients(family: str) -> None:
    """Of the old layers; the new ones start without moments."""
    old, new = stages("staged", family, of=shape(family, num_heads=4), operators=["width_and_depth"])
    assert (old.shape.hidden_size, old.unique_layers) == (new.shape.hidden_size // 2, new.unique_layers // 2)
    small, large = grown_between(old, new)
    for model in (small, large):
        model(*batch(model.shape)).backward()
    growth = growth_between(old, new, f"model.{FAMILIES[family].blocks}", seed=0)
    gradients = {name: {"exp_avg": p.grad, "weight": p.detach()} for name, p in small.named_parameters()}
    for name, parameter in large.named_parameters():
        source = growth.sources(name, set(gradients))[0]
        moment = growth.apply(name, "exp_avg", {source: gradients[source]["exp_avg"]}, Counters())
        if growth.depth.is_new(name):
            assert not moment.any()
        else:
            assert torch.allclose(parameter.grad, moment, atol=1e-6), name


LISTED = [
    {"fraction": 0.25, "layers": 2, "intermediate_size": 32, "feed_forward_rank": 6},
    {"fraction": 0.25, "layers": 2, "feed_forward_rank": 6},
    {"fraction": 0.25, "layers": 2},
    {"fraction": 0.25},
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("width", ["uneven", "tiled"])
def test_factors_are_widened_and_multiplied_out_without_a_change(family: str, width: str) -> None:
    first, second, third, last = stages("compound_grow", family, stage_list=LISTED, width=width)
    for before, after in ((first, second), (second, third), (first, third)):
        old, new = grown_between(before, after)
        assert float(old(*batch(old.shape))) == pytest.approx(float(new(*batch(new.shape))), abs=2e-5)
    old, new = grown_between(second, last)  # and stacked
    matrices = [name for name in dict(new.named_parameters()) if FAMILIES[family].is_feed_forward_matrix(name)]
    grown = last.grown_from(second)
    for name in matrices:
        layer = int(name.removeprefix(f"model.{FAMILIES[family].blocks}.").partition(".")[0])
        source = name.replace(f".{layer}.", f".{grown[layer]}.", 1)
        left, right = map(old.get_parameter, factors_of(source))
        assert torch.allclose(new.get_parameter(name), left @ right)


@pytest.mark.parametrize(("moments", "births"), [("map", (0, 100)), ("map_scaled", (0, 100)), ("reset", (0,))])
def test_products_start_without_moments_and_all_else_keeps_its_own(moments: Any, births: tuple[int, ...]) -> None:
    _, before, after, _ = stages("compound_grow", "gpt2", stage_list=LISTED, moments=moments)
    growth = growth_between(before, after, "model.transformer.h", seed=0)
    counters = Counters(adam_step=100)
    assert growth.counters(counters).births == births
    name = "model.transformer.h.1.mlp.c_fc.weight"
    factors = factors_of(name)
    assert growth.sources(name, {*factors, "model.transformer.h.1.mlp.c_fc.bias"}) == factors
    old = {factors[0]: torch.ones(32, 6), factors[1]: torch.ones(6, 64)}
    assert torch.equal(growth.apply(name, "weight", old, counters), torch.full((32, 64), 6.0))
    assert torch.equal(growth.apply(name, "exp_avg", old, counters), torch.zeros(32, 64))
    bias = "model.transformer.h.1.mlp.c_fc.bias"
    assert growth.apply(bias, "exp_avg", {bias: torch.ones(64)}, counters).all() == (moments != "reset")
    if len(births) > 1:
        blank = {name: torch.zeros(value.shape, dtype=torch.uint8) for name, value in old.items()}
        assert growth.apply(name, COHORT, blank, counters).unique().tolist() == [1]
        assert growth.apply(bias, COHORT, {bias: torch.zeros(64, dtype=torch.uint8)}, counters).unique().tolist() == [0]


def test_block_diagonal_doubling_halves_every_gradient_but_the_final_norm_s() -> None:
    new = stages("scratch", "gpt2")[0]
    new = replace(new, growth=replace(new.growth, width="block_diagonal"))
    old = replace(new, shape=shape("gpt2", hidden_size=16, num_heads=1, intermediate_size=32))
    small, large = grown_between(old, new)
    for model in (small, large):
        model(*batch(model.shape)).backward()
    name = "transformer.h.1.mlp.c_fc.weight"
    before, after = (model.model.get_parameter(name).grad for model in (small, large))
    assert torch.allclose(after, before.repeat(2, 2) / 2, atol=1e-6)  # also off the diagonal, where the weight is zero
    before, after = (model.model.get_parameter("transformer.ln_f.weight").grad for model in (small, large))
    assert torch.allclose(after, before.repeat(2), atol=1e-6)
