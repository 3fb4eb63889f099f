"""A width that the old one does not divide: what the function, the gradients and the moments become."""

from typing import Any

import pytest
import torch
from families import VARIANTS, all_global, small_shape
from growths import batch, depth_map, grown, logits, loss, randomised
from small_models import build, in_fp64
from torch import Tensor

from apollo_ds.growth.counters import COHORT, Counters
from apollo_ds.growth.depth_and_width import growth_between, width_between
from apollo_ds.growth.weights_and_moments import Growth
from apollo_ds.growth.width_map import WidthMap
from apollo_ds.models.family import Family
from apollo_ds.models.fused import split
from apollo_ds.models.pretraining import PretrainingModel
from apollo_ds.models.shape import ModelShape
from apollo_ds.planning.effect import effect_of_growth
from apollo_ds.schedule.stage import GrowthRule, Stage

EXACT = {name: family for name, family in VARIANTS.items() if family.name in ("gpt2", "gpt_neox", "llama")}
OTHERS = {name: family for name, family in VARIANTS.items() if name not in EXACT}
EPSILON = 1e-2
"""As large as that, a wrong one is seen."""
ONCE, TWICE = 24, 40
"""From 16: old units are there once, and 8 extra; twice, and 8 extra."""
ORDER = (0, 1)

every_family = pytest.mark.parametrize("family", VARIANTS.values(), ids=VARIANTS)
exact_families = pytest.mark.parametrize("family", EXACT.values(), ids=EXACT)
other_families = pytest.mark.parametrize("family", OTHERS.values(), ids=OTHERS)


def shape(family: Family, hidden: int, epsilon: float, inner: int = 12, layers: int = 2) -> ModelShape:
    return small_shape(
        family,
        layers,
        hidden_size=hidden,
        num_heads=hidden // 4,
        intermediate_size=inner,
        vocab_size=31,
        max_position_embeddings=8,
        norm_epsilon=epsilon,
        **all_global(family),
    )


def shapes(family: Family, hidden: int = ONCE, part: float | None = None) -> tuple[ModelShape, ModelShape]:
    """A shape, and a wider one whose epsilon is this part of its own: by default the part of units that are copies."""
    copies = hidden // 16 * 16 / hidden
    return shape(family, 16, EPSILON), shape(family, hidden, EPSILON * (part or copies), inner=24)


def maps_between(old: ModelShape, new: ModelShape, rule: Any = "averaged") -> WidthMap:
    maps = width_between(old, new, rule, seed=0)
    assert maps is not None
    return maps


def widened(
    old: ModelShape, new: ModelShape, precision: torch.dtype, rule: str = "averaged", seed: int = 5
) -> tuple[PretrainingModel, PretrainingModel]:
    small = randomised(build(old, 2, seed=1), seed)
    if precision == torch.float64:
        in_fp64(small)
    large, _ = grown(small, Growth(depth_map(old.family, ORDER), maps_between(old, new, rule)), new)
    return small, in_fp64(large) if precision == torch.float64 else large


def difference(small: PretrainingModel, large: PretrainingModel) -> float:
    """The root mean square of that between the logits of two models."""
    with torch.no_grad():
        before, after = (logits(model, batch()[0]) for model in (small, large))
    return float((after - before).square().mean().sqrt())


def effect(old: ModelShape, new: ModelShape) -> str:
    """What the plan says of a growth of the width."""
    stages = [Stage("m", 1, of, 2, 8, growth=GrowthRule(width="averaged")) for of in (old, new)]
    return effect_of_growth(stages, 1)


# The function


@exact_families
@pytest.mark.parametrize(
    ("hidden", "precision", "tolerance"),
    [
        (ONCE, torch.float64, 1e-12),
        (TWICE, torch.float64, 1e-6),  # a third of a head has the precision of fp32
        (ONCE, torch.float32, 1e-5),
        (TWICE, torch.float32, 1e-5),
    ],
)
def test_it_keeps_the_function(family: Family, hidden: int, precision: torch.dtype, tolerance: float) -> None:
    old, new = shapes(family, hidden)
    assert maps_between(old, new).is_exact
    assert effect(old, new) == "unchanged"
    assert difference(*widened(old, new, precision)) < tolerance


@exact_families
def test_the_epsilon_must_be_smaller_as_the_variance_is(family: Family) -> None:
    old, new = shapes(family, part=1.0)
    assert difference(*widened(old, new, torch.float64)) > 1e-3
    assert effect(old, new) == "wider (averaged; norm_epsilon must be 0.006666667)"
    twice = new.model_copy(update={"norm_epsilon": 2 * EPSILON})
    assert effect(old, twice) == "norm_epsilon 0.01 -> 0.02, wider (averaged; norm_epsilon must be 0.006666667)"


@exact_families
def test_the_epsilon_that_the_plan_tells_is_taken(family: Family) -> None:
    for hidden, digits in ((ONCE, "0.006666667"), (TWICE, "0.008")):
        old, wrong = shapes(family, hidden, part=1.0)
        assert effect(old, wrong).endswith(f" {digits})")
        assert effect(old, wrong.model_copy(update={"norm_epsilon": float(digits)})) == "unchanged"


@other_families
@pytest.mark.parametrize("hidden", [ONCE, TWICE])
def test_where_it_does_not_the_plan_says_so_and_it_is_nearer_than_tiling(family: Family, hidden: int) -> None:
    """In the mean of eight models."""
    old, new = shapes(family, hidden)
    same_epsilon = shapes(family, hidden, part=1.0)[1]
    assert not maps_between(old, new).is_exact
    shared = "; other normalisations share norm_epsilon" if family.name == "qwen3" else ""
    changed = f"norm_epsilon 0.01 -> {new.norm_epsilon:g}"
    assert effect(old, new) == f"{changed}, wider (averaged{shared})"
    assert effect(old, same_epsilon) == f"wider (averaged{shared})"
    averaged, tiled = (
        sum(difference(*widened(old, of, torch.float64, rule, seed)) for seed in range(8)) / 8
        for of, rule in ((new, "averaged"), (same_epsilon, "tiled"))
    )
    assert 1e-3 < averaged < 0.9 * tiled


def test_queries_and_keys_that_share_the_epsilon_are_all_that_changes_a_qwen3() -> None:
    small, large = widened(*shapes(VARIANTS["qwen3"]), torch.float64)
    for name, module in large.named_modules():
        if name.endswith(("q_norm", "k_norm")):
            module.eps = EPSILON
    assert difference(small, large) < 1e-12


@every_family
def test_by_a_whole_factor_it_is_tiling(family: Family) -> None:
    old, new = shape(family, 16, EPSILON), shape(family, 48, EPSILON, inner=29)
    assert maps_between(old, new) == maps_between(old, new, "tiled")
    assert not maps_between(old, new).has_extra_units
    assert effect(old, new) == "unchanged"
    small = randomised(build(old, 2, seed=1))
    large, same = (
        grown(small, Growth(depth_map(family.name, ORDER), maps_between(old, new, rule)), new)[0]
        for rule in ("averaged", "tiled")
    )
    for name, weight in large.named_parameters():
        assert torch.equal(weight, same.get_parameter(name)), name


@exact_families
def test_new_layers_that_add_nothing_may_come_with_it(family: Family) -> None:
    old, new = (of.model_copy(update={"num_layers": 4}) for of in shapes(family))
    rule = GrowthRule(new_layers="zero", width="averaged")
    before, after = (Stage("m", 1, of, layers, 8, growth=rule) for of, layers in ((old, 2), (new, 4)))
    small = in_fp64(randomised(build(old, 2, seed=1)))
    small.run_in_order(ORDER)
    large, _ = grown(small, growth_between(before, after, f"model.{family.blocks}", seed=0), new)
    assert difference(small, in_fp64(large)) < 1e-12
    assert effect_of_growth([before, after], 1) == "unchanged"


# How it learns


@every_family
def test_every_coordinate_of_the_extra_units_learns_and_for_itself(family: Family) -> None:
    """Within four steps each has had a gradient, and no two units have become the same."""
    old, new = shapes(family)
    _, large = widened(old, new, torch.float32)
    maps = maps_between(old, new)
    optimizer = torch.optim.Adam(large.parameters(), lr=1e-2)
    had = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in large.named_parameters()}
    for _ in range(4):
        optimizer.zero_grad()
        loss(large, ORDER).backward()
        for name, parameter in large.named_parameters():
            had[name] |= parameter.grad.abs() > 1e-12
        optimizer.step()
    for name, parameter in large.named_parameters():
        extra, dimensions = maps.is_extra(name, parameter), family.dimensions(name)
        if extra is None:
            continue
        learned = had[name] | ~extra
        if dimensions[0] is None:  # of the embeddings, only the rows that the samples have
            assert learned[had[name].any(1)].all(), name
        else:
            assert all(part.all() for part in split(learned, dimensions, new.num_heads)), name
    words = large.model.get_input_embeddings().weight[:, 16:]
    assert len({tuple(column) for column in words.T.tolist()}) == 8


@pytest.mark.parametrize(("name", "gradient"), [("llama", False), ("llama, untied", True)])
def test_a_head_of_its_own_reads_the_extra_units_at_once(name: str, gradient: bool) -> None:
    """One that is tied has zeros for them, since the embeddings write zeros, until these have learned."""
    _, large = widened(*shapes(VARIANTS[name]), torch.float32)
    loss(large, ORDER).backward()
    last = large.model.get_parameter("model.layers.1.mlp.down_proj.weight").grad
    assert last is not None
    assert last[:16].all()
    assert bool(last[16:].any()) == bool(last[16:].all()) == gradient


# Gradients and moments


def gradients_and_moments(
    family: Family, hidden: int
) -> tuple[WidthMap, dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """The map, the gradients before and after the growth, and the states made of the former by `map_scaled`."""
    old, new = shapes(family, hidden)
    maps, small = maps_between(old, new), in_fp64(randomised(build(old, 2, seed=1)))
    loss(small, ORDER).backward()
    before = {name: p.grad for name, p in small.named_parameters()}
    moments = {name: {"exp_avg": g, "exp_avg_sq": g**2} for name, g in before.items()}
    large, states = grown(small, Growth(depth_map(family.name, ORDER), maps, moments="map_scaled"), new, moments)
    loss(in_fp64(large), ORDER).backward()
    return maps, before, {name: p.grad for name, p in large.named_parameters()}, states


def unit_dimension(family: Family, name: str) -> int | None:
    """Along which dimension a parameter writes the residual stream; None for one that does not."""
    if family.is_normalisation(name) or name.endswith("lm_head.weight"):
        return None
    found = [i for i, d in enumerate(family.dimensions(name)) if d is not None and d == ("embedding", "out")]
    return found[0] if found else None


@exact_families
@pytest.mark.parametrize("hidden", [ONCE, TWICE])
def test_gradients_are_the_old_ones_scaled_as_stated(family: Family, hidden: int) -> None:
    """To rounding; but under LayerNorm what writes the stream gets one number more in all of its copies."""
    maps, before, after, states = gradients_and_moments(family, hidden)
    tolerance = 1e-12 if hidden == ONCE else 1e-7  # a third of a head has the precision of fp32
    for name, gradient in after.items():
        extra, moments = maps.is_extra(name, gradient), states[name]
        kept = torch.ones_like(gradient, dtype=torch.bool) if extra is None else ~extra
        assert not moments["exp_avg"][~kept].any(), name
        assert not moments["exp_avg_sq"][~kept].any(), name
        position = unit_dimension(family, name)
        if position is None or family.is_rms_norm:
            assert torch.allclose(gradient[kept], moments["exp_avg"][kept], rtol=1e-6, atol=tolerance), name
            assert torch.allclose(gradient[kept] ** 2, moments["exp_avg_sq"][kept], rtol=1e-6, atol=tolerance), name
            continue
        copies, last = gradient.split([hidden - 8, 8], position)
        off = copies - moments["exp_avg"].narrow(position, 0, hidden - 8)
        assert torch.allclose(off, off.narrow(position, 0, 1).expand_as(off), atol=tolerance), name
        assert off.norm() < 0.2 * copies.norm(), name
        if len(before[name].shape) == 1 or family.dimensions(name)[1 - position] is None:
            # What an old unit had, its copies have together with their part of what the mean has.
            together = copies.unflatten(position, (-1, 16)).sum(position) + last.mean(position, keepdim=True) / 2
            assert torch.allclose(together, before[name], atol=tolerance), name


@pytest.mark.parametrize(
    ("rule", "old_age", "births"),
    [
        ("map", "copies", (0, 100)),
        ("map_scaled", "copies", (0, 100)),
        ("zero_new", "first copies", (0, 100)),
        ("keep_index", "first copies", (0, 100)),
        ("reset", None, (0,)),
    ],
)
def test_extra_units_start_without_moments_in_a_cohort_of_their_own(
    rule: Any, old_age: str | None, births: tuple[int, ...]
) -> None:
    family = VARIANTS["gpt2"]
    old, new = shapes(family, TWICE)
    growth = Growth(depth_map("gpt2", ORDER), maps_between(old, new), moments=rule)
    assert growth.counters(Counters(adam_step=100)).births == births
    small = build(old, 2, seed=1)
    ones = {name: dict.fromkeys(("exp_avg", "exp_avg_sq"), torch.ones_like(p)) for name, p in small.named_parameters()}
    _, states = grown(small, growth, new, ones)
    for name in ("model.transformer.ln_f.bias", "model.transformer.wpe.weight"):
        state, keeps = states[name], {"copies": 32, "first copies": 16, None: 0}[old_age]
        for moment in ("exp_avg", "exp_avg_sq"):
            units = state[moment].reshape(-1, TWICE)
            assert units[:, :keeps].all(), name
            assert not units[:, keeps:].any(), name
        if len(births) > 1:
            assert (state[COHORT].reshape(-1, TWICE) == torch.tensor([0] * keeps + [1] * (TWICE - keeps))).all(), name
