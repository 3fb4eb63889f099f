"""What the growths of methods leave as it is."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from growths import grown_between
from planned import batch, shape, stages


def test_compound_grow_s_widening_is_exact_and_its_copies_part() -> None:
    before, after = stages("compound_grow", "bert")[:2]
    before = replace(before, unique_layers=after.unique_layers)
    small, large = grown_between(before, after)
    assert float(small(*batch(small.shape))) == pytest.approx(float(large(*batch(large.shape))), abs=1e-5)
    large(*batch(large.shape)).backward()
    gradient = large.model.get_parameter("bert.encoder.layer.0.intermediate.dense.weight").grad
    first, copy = gradient.chunk(2)
    assert not torch.allclose(first, copy, rtol=0.05)


@pytest.mark.parametrize("family", ["roberta_prelayernorm", "gpt2"])
@pytest.mark.parametrize("method", ["staged", "net2net"])
def test_growths_that_preserve_a_pre_norm_function(family: str, method: str) -> None:
    planned = stages(method, family, **({"width": "tiled"} if method == "net2net" else {}))
    for before, after in pairwise(planned):
        old, new = grown_between(before, after)
        assert float(old(*batch(old.shape))) == pytest.approx(float(new(*batch(new.shape))), abs=2e-5)


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
