"""Methods: their published stages, scaled to other depths and lengths of run."""

from dataclasses import replace
from typing import Any

import pytest
from sources import needed

from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS, Run
from apollo_ds.models.families import PRESETS
from apollo_ds.schedule.depth import SAMPLERS
from apollo_ds.schedule.stage import GrowthRule, Stage


def stages(method: str, depth: int, steps: int = 4000, **options: Any) -> list[Stage]:
    shape = PRESETS["bert-base"].model_copy(update={"num_layers": depth})
    options = {**needed(method, shape), **options}
    return METHODS[method](name=method, **options).stages(Run(shape, steps, seq_len=128))


def layers_and_steps(planned: list[Stage]) -> dict[int, int]:
    return {stage.unique_layers: stage.steps for stage in planned}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (12, {1: 200, 3: 200, 6: 600, 12: 3000}),
        (24, {2: 200, 6: 200, 12: 600, 24: 3000}),
        (36, {3: 200, 9: 200, 18: 600, 36: 3000}),
        (4, {1: 400, 2: 600, 4: 3000}),
        (2, {1: 1000, 2: 3000}),
        (7, {1: 1000, 7: 3000}),
        (1, {1: 4000}),
    ],
)
def test_apollo_grows_at_2_4_and_10_fortieths_between_divisors(layers: int, expected: dict[int, int]) -> None:
    assert layers_and_steps(stages("apollo", layers)) == expected


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (12, {3: 500, 6: 700, 12: 2800}),
        (24, {6: 500, 12: 700, 24: 2800}),
        (4, {1: 500, 2: 700, 4: 2800}),
        (6, {3: 800, 6: 3200}),
        (7, {7: 4000}),
    ],
)
def test_stackbert_doubles_after_50_and_120_of_400(layers: int, expected: dict[int, int]) -> None:
    assert layers_and_steps(stages("stackbert", layers)) == expected


def test_scratch_is_one_stage_of_every_layer() -> None:
    (stage,) = stages("scratch", 12)
    assert (stage.unique_layers, stage.steps, stage.depth_distribution) == (12, 4000, (1.0,))


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("steps", [40, 97, 600, 250_000])
def test_the_steps_of_the_stages_add_up(method: str, steps: int) -> None:
    for layers in (2, 4, 6, 12, 24):
        planned = stages(method, layers, steps)
        assert sum(stage.steps for stage in planned) == steps
        assert all(stage.steps > 0 for stage in planned if not stage.source)
        assert planned[-1].unique_layers == planned[-1].evaluation_depth == layers


def test_every_stage_of_apollo_trains_the_full_depth_and_stackbert_only_its_own() -> None:
    assert [stage.evaluation_depth for stage in stages("apollo", 12)] == [12, 12, 12, 12]
    assert [stage.evaluation_depth for stage in stages("stackbert", 12)] == [3, 6, 12]


def test_apollo_interpolates_and_stackbert_stacks() -> None:
    apollo, stackbert = stages("apollo", 12), stages("stackbert", 12)
    assert apollo[1].map_to(12) == (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2)
    assert {stage.growth for stage in apollo} == {GrowthRule(rewarm_steps=40)}
    assert {stage.growth for stage in stackbert} == {GrowthRule("stack", moments="reset", rewarm_steps=40)}


def test_apollo_s_options_reach_its_stages() -> None:
    first, second = stages(
        "apollo",
        12,
        layers=[5, 12],
        grow_at=[0.3],
        sampler="us",
        layer_map="stack",
        growth_map="duplicate_top",
        new_layers="zero",
        moments="reset",
        rewarm="new",
        rewarm_fraction=0.05,
    )
    assert (first.steps, second.steps) == (1200, 2800)
    assert first.depth_distribution == SAMPLERS["us"](5, 12)
    assert first.layer_map == "stack"
    assert second.growth == GrowthRule("duplicate_top", "zero", "tiled", "reset", rewarm="new", rewarm_steps=200)


def test_sprout_is_a_late_jump_of_two_layers_that_are_not_shared_to_silent_ones() -> None:
    sprout = stages("sprout", 12, jump_at=0.7)
    assert layers_and_steps(sprout) == {2: 2800, 12: 1200}
    assert [list(stage.depths()) for stage in sprout] == [[(2, 1.0)], [(12, 1.0)]]
    jumps = stages("deep_jump", 12, first_layers=2, sampler="none", new_layers="zero", jump_at=0.7)
    for stage, jump in zip(sprout, jumps, strict=True):
        assert stage == replace(jump, method="sprout")
    assert layers_and_steps(stages("sprout", 2)) == {2: 4000}
    assert layers_and_steps(stages("sprout", 1)) == {1: 4000}
    assert METHODS["sprout"](name="sprout").lr_schedule == "wsd"


def test_fewer_stages_keep_the_last_of_the_published_fractions() -> None:
    assert layers_and_steps(stages("apollo", 12, layers=[3, 6, 12])) == {3: 400, 6: 600, 12: 3000}
    assert layers_and_steps(stages("apollo", 12, layers=[6, 12])) == {6: 1000, 12: 3000}
    assert layers_and_steps(stages("apollo", 12, layers=[12])) == {12: 4000}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"layers": [1, 2, 3, 6, 12]}, "grow_at: 5 stages need 4 fractions"),
        ({"layers": [1, 12], "grow_at": [0.1, 0.2]}, "grow_at: 2 stages need 1 fractions"),
        ({"layers": [1, 24]}, "layers: must increase from at least 1 to the model's 12"),
        ({"layers": []}, "layers: "),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        stages("apollo", 12, **options)
