"""Deep progressive training: its stages, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from planned import schedule, shape, stages
from recipes import tiny
from sources import half_as_deep

from apollo_ds.config.load import load_recipe, resolve
from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.flops import parameters
from apollo_ds.planning.effect import effect_of_growth
from apollo_ds.planning.plan import plan

MASKED = [name for name, family in FAMILIES.items() if family.is_masked]
OTHERS = [name for name in FAMILIES if name not in MASKED]


def layers(family: str, **options: Any) -> list[tuple[int, int]]:
    return [(stage.unique_layers, stage.steps) for stage in stages("dpt", family, **options)]


@pytest.mark.parametrize("family", OTHERS)
def test_it_grows_from_nothing_at_four_fifths(family: str) -> None:
    assert layers(family) == [(0, 320), (4, 80)]
    assert layers(family, first_layers=1, grow_at=0.5) == [(1, 200), (4, 200)]
    _, grown = stages("dpt", family)
    assert (grown.growth.new_layers, grown.growth.rewarm) == ("random", "none")
    assert stages("dpt", family, first_layers=1)[1].growth.new_layers == "copy"


@pytest.mark.parametrize("family", MASKED)
def test_a_masked_model_has_a_layer_that_sees_more_than_masks(family: str) -> None:
    first = 1 + FAMILIES[family].first_layer_is_unlike
    assert layers(family) == layers(family, first_layers=1) == [(first, 320), (4, 80)]
    assert stages("dpt", family)[1].growth.new_layers == "copy"
    assert layers(family, of=shape(family, first)) == [(first, 400)]


def test_a_source_takes_the_place_of_the_first_model_and_is_copied() -> None:
    full = shape("gpt2", 8)
    given = stages("dpt", "gpt2", of=full, source=half_as_deep(full))
    assert [(stage.unique_layers, stage.steps) for stage in given] == [(4, 0), (8, 400)]
    assert given[1].growth.new_layers == "copy"


def test_one_layer_stacked_is_one_layer_interpolated() -> None:
    maps = {
        new.grown_from(old)
        for growth_map in ("stack", "interpolate", "duplicate_top")
        for old, new in [stages("dpt", "gpt2", first_layers=1, growth_map=growth_map)]
    }
    assert maps == {(0, 0, 0, 0)}


def test_its_schedule_is_level_until_after_the_growth() -> None:
    assert METHODS["dpt"](name="dpt").lr_schedule == "wsd"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "changed (random)"),
        ({"new_layers": "silent"}, "unchanged"),
        ({"first_layers": 1}, "changed (interpolate)"),
    ],
    ids=str,
)
def test_what_the_growth_does_is_told(options: dict[str, Any], expected: str) -> None:
    planned = stages("dpt", "gpt2", **options)
    assert [effect_of_growth(planned, number) for number in (0, 1)] == ["initialised", expected]


def test_a_plan_counts_embeddings_and_head_alone() -> None:
    recipe = tiny("gpt2", "unused", method="dpt")
    first, last = plan(recipe)["stages"]
    assert (first["unique_layers"], first["expected_depth"], last["unique_layers"]) == (0, 0, 6)
    head = 2 * recipe.model.hidden_size * recipe.model.vocab_size
    assert first["flops_per_step"] == 3 * head * recipe.seq_len * recipe.global_batch_size
    assert first["parameters"] == parameters(recipe.model, 0)
    planned = schedule(stages("dpt", "gpt2"))
    assert [(planned.at(step).layer_map, planned.at(step).depth) for step in (0, 319)] == [((), 0)] * 2


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**tiny("gpt2", tmp_path / "run", steps=400).plain(), "method": "scratch"}))
    return str(path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["method.first_layers=2"], "method.first_layers: choose one of 0, 1, not 2"),
        (["method.growth_map=stack"], "method.growth_map: 'stack' has no effect here"),
        (["method.noise=0.1"], "method.noise: 0.1 has no effect here"),
        (["method.first_layers=1", "model.num_layers=1"], "changes nothing for 1 layer;"),
    ],
    ids=str,
)
def test_an_option_that_would_do_nothing_is_refused(words: list[str], expected: str, recipe: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(recipe, ["method=dpt", *words])
    assert expected in str(caught.value)


def test_zero_layers_of_a_masked_model_are_refused_where_a_user_asks_for_them(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**tiny("bert", tmp_path / "run").plain(), "method": "scratch"}))
    load_recipe(str(path), ["method=dpt"])
    load_recipe(str(path), ["method=dpt", "method.first_layers=1"])
    with pytest.raises(UserError, match=r"method\.first_layers: a bert without layers sees a mask .*; use 1$"):
        load_recipe(str(path), ["method=dpt", "method.first_layers=0"])
    recorded = load_recipe(str(path), ["method=dpt"]).plain()  # it names the default, as each option
    assert recorded["method"]["first_layers"] == 0
    assert [stage.unique_layers for stage in resolve(recorded, "config.yaml").schedule().stages] == [1, 6]


@pytest.mark.parametrize("new_layers", ["copy", "zero", "identity"])
def test_layers_that_are_made_from_old_ones_are_refused_as_the_recipe_is_read(new_layers: str, tmp_path: Path) -> None:
    plain = tiny("gpt2", tmp_path / "run", method="dpt").plain()
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**plain, "method": {"name": "dpt", "new_layers": new_layers}}))
    with pytest.raises(UserError, match=f"method.new_layers: {new_layers} is made from an old layer"):
        load_recipe(path)
