"""A model that is trained already in the place of a method's smaller stages."""

from itertools import pairwise
from typing import Any

import pytest
from families import plus_first
from planned import shape, stages
from sources import half_as_deep

from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS, GrowingMethod
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.shape import ModelShape, why_not_grown
from apollo_ds.schedule.growable import check_growths
from apollo_ds.schedule.stage import Stage

GROWING = [name for name, kind in METHODS.items() if issubclass(kind, GrowingMethod)]
STEPS = 400


def model_of(stage: Stage) -> ModelShape:
    return stage.shape.model_copy(update={"num_layers": stage.unique_layers})


@pytest.mark.parametrize("name", GROWING)
@pytest.mark.parametrize("family", FAMILIES)
def test_stages_that_it_cannot_grow_into_are_left_out(family: str, name: str) -> None:
    full = shape(family, plus_first(FAMILIES[family], 8), num_heads=4, hidden_size=32)
    source = half_as_deep(full)
    options: dict[str, Any] = {"source": source, **({"width": "tiled"} if name == "net2net" else {})}
    first, *others = stages(name, family, STEPS, full, **options)
    assert (first.steps, first.source, model_of(first)) == (0, source, source.shape)
    assert sum(stage.steps for stage in others) == STEPS
    assert all(why_not_grown(model_of(before), model_of(after)) is None for before, after in pairwise([first, *others]))
    assert model_of(others[-1]) == full
    check_growths([first, *others])


def test_the_first_that_is_left_has_the_steps_of_those_before_it() -> None:
    full = shape("gpt2", 8)
    options = {"layers": [1, 2, 4, 8], "grow_at": [0.1, 0.3, 0.6]}
    assert [stage.steps for stage in stages("apollo", "gpt2", STEPS, full, **options)] == [40, 80, 120, 160]
    given = stages("apollo", "gpt2", STEPS, full, source=half_as_deep(full), **options)
    assert [(stage.unique_layers, stage.steps) for stage in given] == [(4, 0), (4, 240), (8, 160)]


def test_a_source_may_be_as_large_as_the_model() -> None:
    full = shape("gpt2", 8)
    source = half_as_deep(full).model_copy(update={"shape": full})
    given = stages("sprout", "gpt2", STEPS, full, source=source)
    assert [(stage.unique_layers, stage.steps) for stage in given] == [(8, 0), (8, STEPS)]


def test_a_source_of_another_model_is_refused() -> None:
    full = shape("gpt2", 8)
    source = half_as_deep(full)
    larger = source.model_copy(update={"shape": full.model_copy(update={"num_layers": 9})})
    with pytest.raises(UserError, match=r"^method\.source: source cannot grow into the model: 9 layers cannot grow"):
        stages("sprout", "gpt2", STEPS, full, source=larger)
