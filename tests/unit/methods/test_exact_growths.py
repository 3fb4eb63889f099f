"""What `plan` says of a growth is what it does, for every method and family."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from families import plus_first
from growths import grown_between
from planned import batch, shape, stages

from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS
from apollo_ds.models.families import FAMILIES
from apollo_ds.planning.effect import effect_of_growth
from apollo_ds.schedule.growable import check_growths
from apollo_ds.schedule.stage import Stage

OPTIONS: dict[str, dict[str, Any]] = {"bert2bert": {"width": "tiled"}, "net2net": {"width": "tiled"}}
"""Without which a growth is not exact, while it can be."""


def planned(method: str, family: str) -> list[Stage]:
    kind = FAMILIES[family]
    of = shape(family, plus_first(kind, 4), num_heads=4, hidden_size=32)
    found = stages(method, family, of=of, **OPTIONS.get(method, {}))
    check_growths(found)
    return found


def held_out(stage: Stage, model: Any) -> float:
    """The loss at the depth at which a stage is evaluated."""
    model.run_in_order(stage.map_to(stage.evaluation_depth))
    with torch.no_grad():
        return float(model.eval()(*batch(stage.shape)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_growth_is_exact_where_the_plan_says_so(method: str, family: str) -> None:
    found = planned(method, family)
    for number, (old, new) in enumerate(pairwise(found), start=1):
        if old.learned_growth or new.learned_growth or new.continues(old):
            continue
        before, after = grown_between(old, new)
        difference = abs(held_out(old, before) - held_out(new, after))
        is_exact = effect_of_growth(found, number).startswith("unchanged")
        assert difference < 1e-5 if is_exact else difference > 1e-5, effect_of_growth(found, number)


@pytest.mark.parametrize("family", FAMILIES)
def test_gates_and_first_layers_are_heeded(family: str) -> None:
    kind, last = FAMILIES[family], planned("scratch", family)[-1]
    single = replace(last, unique_layers=1, depth_distribution=(0.0,) * (last.unique_layers - 1) + (1.0,))
    if kind.first_layer_is_unlike:
        with pytest.raises(UserError, match="first layer is unlike all others"):
            single.map_to(last.unique_layers)
    else:
        assert set(single.map_to(last.unique_layers)) == {0}
    identity = replace(last, growth=replace(last.growth, new_layers="identity"))
    half = replace(last, unique_layers=plus_first(kind, 2))
    if kind.is_gated or not kind.is_pre_norm:
        with pytest.raises(UserError, match=r"never learn|silence"):
            check_growths([half, identity])
    else:
        check_growths([half, identity])
