"""Feed-forward matrices held as two factors: the same function as their product, and what it costs."""

import pytest
import torch
from families import VARIANTS, batch_of, shape_of
from growths import randomised
from small_models import build, filled
from torch.utils.flop_counter import FlopCounterMode

from apollo_ds.models.factor_names import factors_of
from apollo_ds.models.family import Family
from apollo_ds.models.flops import parameters, trainable_parameters, training_flops
from apollo_ds.models.frozen import Frozen
from apollo_ds.models.pretraining import PretrainingModel, skeleton

every_family = pytest.mark.parametrize("family", VARIANTS.values(), ids=VARIANTS)
RANK = 5


def factored(family: Family, layers: int = 3) -> PretrainingModel:
    of = shape_of(family, layers, width=4, inner=5, vocab_size=311, max_position_embeddings=32)
    model = skeleton(of, layers)
    model.factorise_feed_forward(RANK)
    return filled(model, seed=0)


@every_family
def test_factors_compute_what_their_product_does(family: Family) -> None:
    small = randomised(factored(family))
    whole = build(small.shape, 3, seed=1)
    with torch.no_grad():
        for name, parameter in whole.named_parameters():
            if family.is_feed_forward_matrix(name):
                left, right = map(small.get_parameter, factors_of(name))
                parameter.copy_(left @ right)
            else:
                parameter.copy_(small.get_parameter(name))
    samples = batch_of(small.shape)
    assert small(*samples).item() == pytest.approx(whole(*samples).item(), abs=2e-5)


@every_family
def test_fresh_products_are_spread_as_the_matrices_are(family: Family) -> None:
    of = shape_of(family, 2, width=16, inner=20, vocab_size=31)
    small, whole = skeleton(of, 2), build(of, 2, seed=0)
    small.factorise_feed_forward(24)
    filled(small, seed=0)
    spread = {}
    for name, parameter in whole.named_parameters():
        if family.is_feed_forward_matrix(name):
            left, right = map(small.get_parameter, factors_of(name))
            spread[name] = float((left @ right).std() / parameter.std())
    assert len(spread) == 2 * len(family.feed_forward_matrices(of))
    assert all(value == pytest.approx(1, rel=0.1) for value in spread.values()), spread


@every_family
def test_parameters_and_operations_are_what_is_counted(family: Family) -> None:
    model = factored(family)
    assert sum(p.numel() for p in model.parameters()) == parameters(model.shape, 3, RANK)
    model.model.set_attn_implementation("eager")
    samples = batch_of(model.shape, family.scored_positions(32))
    with FlopCounterMode(display=False) as counter:
        model(*samples).backward()
    assert counter.get_total_flops() == training_flops(model.shape, 3, 32, 3, rank=RANK)
    frozen = Frozen((0, 1))
    model.freeze(frozen)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == trainable_parameters(model.shape, 3, frozen, RANK)


@every_family
def test_each_factor_learns(family: Family) -> None:
    model = factored(family)
    model(*batch_of(model.shape)).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.layers.parameters())
