"""Methods: their published stages, scaled to other depths and lengths of run."""

from dataclasses import replace
from math import log10
from typing import Any

import pytest
from sources import needed

from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS, Run
from apollo_ds.methods.g_stack import law_tokens
from apollo_ds.models.families import PRESETS
from apollo_ds.schedule.depth import SAMPLERS
from apollo_ds.schedule.stage import GrowthRule, Stage


def stages(method: str, depth: int, steps: int = 4000, **options: Any) -> list[Stage]:
    shape = PRESETS["bert-base"].model_copy(update={"num_layers": depth})
    options = {**needed(method, shape), **options}
    return METHODS[method](name=method, **options).stages(Run(shape, steps, seq_len=128, global_batch_size=8))


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


@pytest.mark.parametrize(
    ("layers", "options", "expected"),
    [
        (12, {}, {3: 400, 6: 800, 9: 1200, 12: 1600}),
        (12, {"alpha": 0}, {3: 1000, 6: 1000, 9: 1000, 12: 1000}),
        (12, {"alpha": 2}, {3: 133, 6: 534, 9: 1200, 12: 2133}),
        (12, {"block_size": 4}, {4: 667, 8: 1333, 12: 2000}),
        (6, {}, {2: 667, 4: 1333, 6: 2000}),
        (7, {}, {7: 4000}),
        (7, {"block_size": 7}, {7: 4000}),
    ],
)
def test_midas_adds_a_block_after_a_time_in_proportion(
    layers: int, options: dict[str, Any], expected: dict[int, int]
) -> None:
    planned = stages("midas", layers, **options)
    assert layers_and_steps(planned) == expected
    assert {stage.growth for stage in planned} == {GrowthRule("middle_block", moments="map", rewarm_steps=40)}


@pytest.mark.parametrize(("alpha", "cost"), [(0, 0.625), (1, 0.75), (2, 0.8333)])
def test_midas_costs_of_the_layers_what_is_published_for_four_stages(alpha: float, cost: float) -> None:
    planned = stages("midas", 12, steps=250_000, alpha=alpha)
    assert sum(s.steps * s.unique_layers for s in planned) / (12 * 250_000) == pytest.approx(cost, abs=1e-4)


def test_midas_leaves_a_first_layer_that_is_unlike_the_others_alone() -> None:
    shape = PRESETS["modernbert-base"].model_copy(update={"num_layers": 13})
    planned = METHODS["midas"](name="midas").stages(Run(shape, 4000, seq_len=128, global_batch_size=8))
    assert [stage.unique_layers for stage in planned] == [4, 7, 10, 13]
    assert planned[2].grown_from(planned[1]) == (0, 1, 2, 3, 1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize("method", ["apollo", "stackbert", "mslt", "midas", "staged", "g_stack", "compound_grow"])
def test_a_first_layer_alone_cannot_grow(method: str) -> None:
    shape = PRESETS["modernbert-base"].model_copy(update={"num_layers": 1})
    with pytest.raises(UserError, match=r"^model\.num_layers: the first layer of a modernbert is never copied"):
        METHODS[method](name=method).stages(Run(shape, 4000, seq_len=128, global_batch_size=8))


def test_g_stack_s_law_is_the_published_one() -> None:
    assert law_tokens(8e9, 6 * 8e9 * 15e12) == pytest.approx(6.58e9, rel=1e-3)  # Llama 3, as the paper has it


def test_g_stack_grows_where_its_law_says() -> None:
    shape, steps, batch = PRESETS["gpt2-base"], 100_000, 2048
    small, full = METHODS["g_stack"](name="g_stack", grow_at="law").stages(Run(shape, steps, 1024, batch))
    known = 12 * 7_087_872 + 2 * 768  # layers, and the last normalisation
    wanted = 10 ** (0.88 * log10(known) + 163.27 / log10(6 * known * steps * batch * 1024) - 5.74)
    assert small.steps == round(wanted / (batch * 1024)) and small.steps + full.steps == steps


@pytest.mark.parametrize(
    ("steps", "batch", "expected"),
    [
        (
            1000,
            8,
            r"^method\.grow_at: the law asks for [\d.e+]+ tokens of the small model, and the run has 1,024,000; ",
        ),
        (
            10**9,
            10**9,
            r"less than half a step's, which has 128,000,000,000; make global_batch_size smaller, or give a",
        ),
    ],
)
def test_a_law_that_does_not_fit_the_run_is_refused(steps: int, batch: int, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        METHODS["g_stack"](name="g_stack", grow_at="law").stages(Run(PRESETS["bert-base"], steps, 128, batch))


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


@pytest.mark.parametrize(
    ("operators", "expected"),
    [
        (["width", "depth"], [(6, 384, 1000), (6, 768, 1000), (12, 768, 2000)]),
        (["width_and_depth"], [(6, 384, 1000), (12, 768, 3000)]),
        (["width_and_depth", "depth", "width"], [(3, 192, 1000), (6, 384, 1000), (12, 384, 1000), (12, 768, 1000)]),
        (["depth"], [(6, 768, 1000), (12, 768, 3000)]),
    ],
)
def test_staged_training_doubles_what_its_operators_name(
    operators: list[str], expected: list[tuple[int, int, int]]
) -> None:
    planned = stages("staged", 12, operators=operators)
    assert [(stage.unique_layers, stage.shape.hidden_size, stage.steps) for stage in planned] == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"operators": ["width_and_depth"], "grow_at": [0.1, 0.2]}, "grow_at: 1 growths need as many fractions, not"),
        ({"grow_at": [0.5, 0.25]}, "grow_at: fractions must increase between 0 and 1, not"),
        ({"operators": ["width_and_depth", "depth", "depth"]}, "operators: the model's 12 layers cannot be halved"),
    ],
)
def test_operators_that_do_not_fit_are_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        stages("staged", 12, **options)


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


def test_early_doubling_is_apollo_s_stages_without_its_shared_layers_and_sooner() -> None:
    doubling = stages("early_doubling", 12)
    assert layers_and_steps(doubling) == {3: 200, 6: 280, 12: 3520}
    same = stages("apollo", 12, layers=[3, 6, 12], grow_at=[0.05, 0.12], sampler="none")
    for stage, other in zip(doubling, same, strict=True):
        assert list(stage.depths()) == list(other.depths()) == [(stage.unique_layers, 1.0)]
        assert stage == replace(other, method="early_doubling", depth_distribution=stage.depth_distribution)
    assert METHODS["early_doubling"](name="early_doubling").lr_schedule == "wsd"


@pytest.mark.parametrize(
    ("layers", "options", "expected"),
    [
        (24, {"grow_at": (0.1, 0.2, 0.5)}, {3: 400, 6: 400, 12: 1200, 24: 2000}),
        (10, {}, {2: 200, 5: 280, 10: 3520}),
        (7, {}, {1: 480, 7: 3520}),
        (12, {"grow_at": (0.1,)}, {6: 400, 12: 3600}),
    ],
)
def test_early_doubling_has_the_counts_that_the_depth_allows(
    layers: int, options: dict[str, Any], expected: dict[int, int]
) -> None:
    assert layers_and_steps(stages("early_doubling", layers, **options)) == expected


def test_fewer_stages_keep_the_last_of_the_published_fractions() -> None:
    assert layers_and_steps(stages("apollo", 12, layers=[3, 6, 12])) == {3: 400, 6: 600, 12: 3000}
    assert layers_and_steps(stages("apollo", 12, layers=[6, 12])) == {6: 1000, 12: 3000}
    assert layers_and_steps(stages("apollo", 12, layers=[12])) == {12: 4000}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"layers": [1, 2, 3, 6, 12]}, "grow_at: must have 4 fractions for 5 stages"),
        ({"layers": [1, 12], "grow_at": [0.1, 0.2]}, "grow_at: must have 1 fraction for 2 stages"),
        ({"layers": [1, 24]}, "layers: must increase from at least 1 to the model's 12"),
        ({"layers": []}, "layers: "),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        stages("apollo", 12, **options)
