"""What the growths of methods leave as it is."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from growths import grown_between
from planned import batch, shape, stages

from apollo_ds.growth.counters import Counters
from apollo_ds.growth.depth_and_width import growth_between
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
