"""A growth from zero layers: what there was stays to the bit, and the layers are as freshly initialised."""

from dataclasses import replace

import pytest
import torch
from families import VARIANTS, batch_of, shape_of
from growths import grown, logits, randomised
from small_models import build

from apollo_ds.errors import UserError
from apollo_ds.growth.counters import Counters
from apollo_ds.growth.depth_and_width import growth_between
from apollo_ds.growth.weights_and_moments import Growth
from apollo_ds.models.family import Family
from apollo_ds.models.layer_map import LAYER_MAPS, NO_LAYER, added, placed
from apollo_ds.models.shape import ModelShape
from apollo_ds.schedule.growable import check_growth
from apollo_ds.schedule.stage import GrowthRule, MomentRule, NewLayers, Stage

every_family = pytest.mark.parametrize("family", VARIANTS.values(), ids=list(VARIANTS))
LAYERS = 3


def stages(family: Family, **rule: object) -> tuple[Stage, Stage]:
    new = Stage("dpt", 1, shape_of(family, LAYERS), LAYERS, 8, growth=GrowthRule(**{"new_layers": "random", **rule}))
    return replace(new, unique_layers=0, growth=GrowthRule()), new


def growth_of(family: Family, **rule: object) -> Growth:
    old, new = stages(family, **rule)
    return growth_between(old, new, f"model.{family.blocks}", seed=0)


@pytest.mark.parametrize("name", LAYER_MAPS)
@pytest.mark.parametrize("first_stays", [False, True])
def test_no_map_places_a_layer_that_is_not_there(name: str, first_stays: bool) -> None:
    assert placed(name, 0, 4, first_stays) == (NO_LAYER,) * 4
    assert added(placed(name, 0, 4, first_stays)) == (0, 1, 2, 3)
    assert placed(name, 0, 0, first_stays) == ()


@every_family
@pytest.mark.parametrize("moments", ["map", "map_scaled", "zero_new", "keep_index"])
def test_what_there_was_stays_and_the_layers_are_fresh(family: Family, moments: MomentRule) -> None:
    old = randomised(build(shape_of(family, LAYERS), 0, seed=1))
    before = dict(old.named_parameters())
    new, states = grown(old, growth_of(family, moments=moments), old.shape)
    fresh = dict(build(old.shape, LAYERS, seed=9).named_parameters())
    assert before.keys() < fresh.keys() == states.keys()
    for name, weight in new.named_parameters():
        assert torch.equal(weight, before.get(name, fresh[name])), name
        for moment in ("exp_avg", "exp_avg_sq"):
            expected = before[name] if name in before else torch.zeros(())
            assert torch.equal(states[name][moment], expected), (name, moment)
        assert bool((states[name]["cohort"] == (name not in before)).all()), name


@every_family
def test_silent_layers_leave_a_pre_norm_function_as_it_is(family: Family) -> None:
    old = randomised(build(shape_of(family, LAYERS), 0, seed=1)).eval()
    new, _ = grown(old, growth_of(family, new_layers="silent"), old.shape)
    ids = batch_of(old.shape)[0]
    is_same = torch.allclose(logits(new.eval(), ids), logits(old, ids), atol=1e-5)
    assert is_same is family.is_pre_norm
    outputs = [weight for name, weight in new.named_parameters() if family.is_residual_output(name)]
    assert len(outputs) >= 2 * LAYERS
    assert not any(weight.any() for weight in outputs)


@pytest.mark.parametrize("rewarm", ["none", "new"])
def test_moments_that_begin_anew_have_one_age(rewarm: str) -> None:
    growth = growth_of(VARIANTS["gpt2"], moments="reset", rewarm=rewarm)
    assert growth.counters(Counters(adam_step=100)).births == ((0,) if rewarm == "none" else (0, 0))


@pytest.mark.parametrize("new_layers", ["copy", "zero", "identity"])
def test_what_is_made_from_a_layer_needs_one(new_layers: NewLayers) -> None:
    with pytest.raises(UserError, match=rf"method\.new_layers: {new_layers} is made from an old layer, .* use random"):
        check_growth(*stages(VARIANTS["gpt2"], new_layers=new_layers))


@every_family
def test_a_wider_model_too_keeps_what_there_was(family: Family) -> None:
    old, new = stages(family, width="tiled")
    wide: ModelShape = shape_of(family, LAYERS, width=2, inner=2)
    growth = growth_between(old, replace(new, shape=wide), f"model.{family.blocks}", seed=0)
    small = randomised(build(old.shape, 0, seed=1)).eval()
    large, states = grown(small, growth, wide)
    large.run_in_order(())
    small.run_in_order(())
    ids = batch_of(wide)[0]
    assert torch.allclose(logits(large.eval(), ids), logits(small, ids), atol=1e-4)
    assert all(bool((state["cohort"] == 1).all()) for name, state in states.items() if f".{family.blocks}." in name)
