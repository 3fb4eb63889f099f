"""Where the scales that know the depth change, growth keeps the function, or the plan says that it does not."""

from typing import Any

import pytest
import torch
from families import VARIANTS, batch_of, plus_first, shape_of
from growths import grown_between
from torch import Tensor

from apollo_ds.growth.counters import Counters
from apollo_ds.growth.depth_and_width import growth_between
from apollo_ds.models.pretraining import PretrainingModel
from apollo_ds.planning.effect import effect_of_growth
from apollo_ds.schedule.scale_change import scale_change
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.stage import GrowthRule, Stage

KINDS: dict[str, dict[str, Any]] = {
    "depth_sqrt": {"residual_scale": "depth_sqrt"},
    "complete_p": {"residual_scale": "complete_p", "complete_p_alpha": 0.75},
    "layernorm_scale": {"layernorm_scale": True},
    "both": {"residual_scale": "complete_p", "base_layers": 3, "layernorm_scale": True},
}
PRE_NORM = [name for name, family in VARIANTS.items() if family.is_pre_norm]


def stage(
    family: str,
    layers: int,
    kind: dict[str, Any],
    depth: int | None = None,
    rise: int = 0,
    rank: int | None = None,
    **rule: Any,
) -> Stage:
    """A stage of so many layers that are alike, which run at so many positions."""
    of = VARIANTS[family]
    unique, positions = plus_first(of, layers), plus_first(of, depth or layers)
    distribution = (*(0.0,) * (positions - unique), 1.0)
    changes = {"global_attention_every": 1} if family == "modernbert" else {}
    shape = shape_of(of, plus_first(of, 4), **kind, **changes)
    growth = GrowthRule(**rule)
    runs = {"depth_distribution": distribution, "rise_steps": rise, "feed_forward_rank": rank}
    return Stage("test", 10, shape, unique, 10, growth=growth, **runs)


def losses(old: Stage, new: Stage, risen: tuple[float, ...] = ()) -> tuple[Tensor, Tensor]:
    """Before and after a growth, at the depths of evaluation."""
    before, after = grown_between(old, new)
    if risen:
        after.scale_branches()
    return loss_of(before, old), loss_of(after, new, risen)


def loss_of(model: PretrainingModel, of: Stage, risen: tuple[float, ...] = ()) -> Tensor:
    model.run_in_order(of.map_to(of.evaluation_depth), risen=risen)
    loss: Tensor = model(*batch_of(model.shape))
    return loss


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer_map", ["stack", "interpolate"])
@pytest.mark.parametrize("family", PRE_NORM)
def test_silent_layers_keep_the_function_where_old_ones_have_another_scale(
    family: str, layer_map: str, kind: str
) -> None:
    old = stage(family, 2, KINDS[kind])
    new = stage(family, 4, KINDS[kind], layer_map=layer_map, new_layers="zero")
    before, after = losses(old, new)
    assert torch.allclose(before, after, rtol=1e-5)
    assert effect_of_growth([old, new], 1) == "unchanged"


@pytest.mark.parametrize(
    ("family", "kind"), [(f, k) for f in VARIANTS for k in KINDS if f in PRE_NORM or "layernorm_scale" not in KINDS[k]]
)
def test_a_model_without_scales_becomes_one_with_them(family: str, kind: str) -> None:
    old, new = stage(family, 4, {}), stage(family, 4, KINDS[kind])
    for pair in ((old, new), (new, old)):
        assert not pair[1].continues(pair[0])
        assert torch.allclose(*losses(*pair), rtol=1e-5)
        assert effect_of_growth(pair, 1) == "unchanged"


@pytest.mark.parametrize("kind", KINDS)
def test_shared_layers_part_without_a_change(kind: str) -> None:
    old, new = stage("gpt2", 2, KINDS[kind], depth=4), stage("gpt2", 4, KINDS[kind])
    assert torch.equal(*losses(old, new))
    assert effect_of_growth([old, new], 1) == "unchanged (2 | 4)"


def test_copies_keep_their_weights() -> None:
    kind = KINDS["both"]
    old, new = grown_between(stage("gpt2", 2, kind), stage("gpt2", 4, kind))
    weights = dict(old.named_parameters())
    for name, weight in new.named_parameters():
        index = int(name.split(".")[3]) if ".h." in name else None
        source = name if index is None else name.replace(f".h.{index}.", f".h.{index // 2}.")
        assert torch.equal(weight, weights[source])
    assert effect_of_growth([stage("gpt2", 2, kind), stage("gpt2", 4, kind)], 1) == "changed (interpolate)"


def test_copies_of_a_model_without_scales_make_up_for_its_scales_but_not_for_the_depth() -> None:
    change = scale_change(stage("gpt2", 2, {}), stage("gpt2", 4, KINDS["both"]))
    # 3 base layers: at 2 layers 1.5, at 4 0.75; two copies with 0.75 / 1.5 each add what one added
    assert [layer.branches for layer in change.layers] == pytest.approx([1 / 1.5] * 4)
    assert [layer.normalisations for layer in change.layers] == pytest.approx([1, 1, 2**0.5, 2**0.5])


def test_one_weight_cannot_make_up_for_the_scales_of_several_positions() -> None:
    old, new = stage("gpt2", 2, {}, depth=4), stage("gpt2", 2, {"layernorm_scale": True}, depth=4)
    before, after = losses(old, new)
    assert not torch.allclose(before, after, rtol=1e-5)
    assert effect_of_growth([old, new], 1) == "changed (one weight for several scales)"
    only_branches = stage("gpt2", 2, KINDS["depth_sqrt"], depth=4)
    assert torch.allclose(*losses(old, only_branches), rtol=1e-5)
    assert effect_of_growth([old, only_branches], 1) == "unchanged"


@pytest.mark.parametrize("kind", ["none", *KINDS])
@pytest.mark.parametrize("new_layers", ["copy", "random"])
def test_layers_that_rise_from_0_keep_the_function_whatever_they_are(new_layers: str, kind: str) -> None:
    keys = KINDS.get(kind, {})
    old = stage("gpt2", 2, keys)
    new = stage("gpt2", 4, keys, rise=8, layer_map="stack", new_layers=new_layers, noise=0.1 * (new_layers == "copy"))
    risen = (1.0, 1.0, 0.0, 0.0)
    assert Schedule((old, new), 1, None, 0).risen(1, 10, 4) == risen  # type: ignore[arg-type]
    assert torch.allclose(*losses(old, new, risen), rtol=1e-5)
    assert effect_of_growth([old, new], 1) == "unchanged"


def test_a_post_ln_model_does_not_keep_its_function_as_layers_rise() -> None:
    old, new = stage("bert", 2, {}), stage("bert", 4, {}, rise=8, layer_map="stack")
    assert not torch.allclose(*losses(old, new, (1.0, 1.0, 0.0, 0.0)), rtol=1e-5)
    assert effect_of_growth([old, new], 1) == "changed (stack)"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", PRE_NORM)
def test_factors_are_scaled_as_whole_matrices_are(family: str, kind: str) -> None:
    old, new = (
        stage(family, 2, KINDS[kind], rank=3),
        stage(family, 4, KINDS[kind], layer_map="stack", new_layers="zero"),
    )
    before, after = losses(old, new)
    assert torch.allclose(before, after, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_scaled_moments_follow_the_gradients(kind: str) -> None:
    old = stage("gpt2", 2, KINDS[kind])
    new = stage("gpt2", 4, KINDS[kind], layer_map="stack", new_layers="zero", moments="map_scaled")
    before, after = grown_between(old, new)
    loss_of(before, old).backward()
    loss_of(after, new).backward()
    growth = growth_between(old, new, "model.transformer.h", seed=0)
    for name, parameter in before.named_parameters():
        found = after.get_parameter(name).grad
        assert parameter.grad is not None and found is not None
        for tensor, power in (("exp_avg", 1), ("exp_avg_sq", 2)):
            moment = growth.apply(name, tensor, {name: parameter.grad**power}, Counters())
            assert moment is not None and torch.allclose(moment, found**power, rtol=1e-3, atol=1e-6), name
