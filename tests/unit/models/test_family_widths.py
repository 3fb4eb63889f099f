"""Wider models of every family: which dimensions grow, and that the function stays."""

from typing import Any

import pytest
import torch
from families import VARIANTS, batch_of, shape_of
from growths import depth_map, grown, logits, randomised
from small_models import build

from apollo_ds.growth.depth_and_width import width_between
from apollo_ds.growth.weights_and_moments import Growth
from apollo_ds.growth.width_map import AxisMap, WidthMap
from apollo_ds.models.axes import axis_size
from apollo_ds.models.family import Family
from apollo_ds.models.pretraining import skeleton
from apollo_ds.models.shape import ModelShape

every_family = pytest.mark.parametrize("family", VARIANTS.values(), ids=VARIANTS)


@every_family
@pytest.mark.parametrize(("width", "inner"), [(2, 1), (1, 2), (2, 2)])
def test_the_dimensions_that_grow_are_those_with_an_axis(family: Family, width: int, inner: int) -> None:
    small, large = (skeleton(of, 2) for of in (shape_of(family, 2), shape_of(family, 2, width, inner)))
    for name, weight in small.named_parameters():
        dimensions = family.dimensions(name)
        assert len(dimensions) == weight.dim(), name
        for dimension, before, after in zip(dimensions, weight.shape, large.get_parameter(name).shape, strict=True):
            sizes = [None if dimension is None else axis_size(dimension.axis, of.shape) for of in (small, large)]
            assert sizes == [before, after] or (dimension is None and before == after), name


@every_family
@pytest.mark.parametrize("rule", ["tiled", "uneven", "block_diagonal"])
@pytest.mark.parametrize(("width", "inner"), [(2, 2), (3, 3), (1, 4), (2, 1)])
def test_width_growth_preserves_the_function(family: Family, rule: Any, width: int, inner: int) -> None:
    target = shape_of(family, 2, width, inner)
    check_width_is_exact(family, target, width_between(shape_of(family, 2), target, rule, seed=0))


@every_family
def test_heads_and_inner_units_may_be_copied_in_any_order(family: Family) -> None:
    of, units, inner = shape_of(family, 2), AxisMap.tiled(8, 16), AxisMap.drawn(12, 29, seed=4)
    groups = AxisMap((0, 1, 1, 0) if of.key_value_heads == 2 else (0, 0), of.key_value_heads)
    heads = groups.of_groups(4 * of.query_heads_a_group)
    axes = {"embedding": units, "transform": units, "heads": heads, "qkv": heads.repeated(3)}
    axes |= {"key_value": groups.of_groups(4), "qkv_by_head": groups.of_groups(12), "gated": inner.repeated(2)}
    maps = WidthMap(family.name, {**axes, "ffn": inner})
    check_width_is_exact(family, shape_of(family, 2, width=2, intermediate_size=29), maps)


def check_width_is_exact(family: Family, target: ModelShape, maps: WidthMap | None) -> None:
    small = randomised(build(shape_of(family, 2), 2, seed=1))
    assert maps is not None and maps.is_exact
    large, _ = grown(small, Growth(depth_map(family.name, (0, 1)), maps), target)
    with torch.no_grad():
        before, after = (logits(model, batch_of(model.shape)[0]) for model in (small, large))
    assert torch.allclose(before, after, atol=1e-5)
