"""A trained model that is made deeper: its stages, what it refuses, and what is frozen."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from families import plus_first
from growths import grown_between
from planned import batch, schedule, shape
from recipes import tiny, write
from sources import half_as_deep

from apollo_ds.config.load import load_recipe
from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS, Run
from apollo_ds.models.families import FAMILIES, PRESETS
from apollo_ds.models.flops import parameters, trainable_parameters
from apollo_ds.models.frozen import Frozen
from apollo_ds.models.shape import ModelShape
from apollo_ds.planning.effect import effect_of_growth
from apollo_ds.planning.step_flops import expected_step_flops
from apollo_ds.schedule.stage import GrowthRule, Stage

DEEP = PRESETS["tinyllama-1.1b"].model_copy(update={"num_layers": 40})


def source(of: ModelShape, **changes: Any) -> dict[str, Any]:
    found = half_as_deep(of)
    return found.model_copy(update={"shape": found.shape.model_copy(update=changes)}).model_dump(mode="json")


def upscaled(of: ModelShape, given: dict[str, Any] | None = None, **options: Any) -> list[Stage]:
    method = METHODS["upscale"](name="upscale", source=given or source(of), **options)
    return method.stages(Run(of, 100, seq_len=16, global_batch_size=4))


def test_the_source_has_no_steps_and_the_model_all_of_them() -> None:
    before, after = upscaled(DEEP, source(DEEP, num_layers=32))
    assert (before.steps, before.unique_layers, after.steps, after.unique_layers) == (0, 32, 100, 40)
    assert after.growth == GrowthRule("block_expansion", "zero", "averaged", "reset", rewarm_steps=1)
    assert after.frozen == before.frozen == Frozen()
    assert [stage.first_trained(stage.unique_layers) for stage in (before, after)] == [0, 0]


def test_llama_pro_trains_every_fifth_of_forty_layers() -> None:
    _, after = upscaled(DEEP, source(DEEP, num_layers=32), train="new")
    trained = set(range(40)) - set(after.frozen.layers)
    assert sorted(trained) == [4, 9, 14, 19, 24, 29, 34, 39]
    assert after.frozen.head
    assert after.first_trained(40) == 4
    layer = (parameters(DEEP, 40) - parameters(DEEP, 32)) // 8
    assert trainable_parameters(DEEP, 40, after.frozen) == 8 * layer


def test_solar_repeats_the_middle() -> None:
    before, after = upscaled(
        DEEP.model_copy(update={"num_layers": 48}),
        source(DEEP, num_layers=32),
        growth_map="duplicate_middle",
        new_layers="copy",
    )
    assert after.grown_from(before) == (*range(24), *range(8, 32))


@pytest.mark.parametrize(
    ("family", "given", "expected"),
    [
        ("gpt2", None, "zero"),
        ("bert", None, "copy"),
        ("bert", "zero", "zero"),
        ("gpt2", "copy", "copy"),
        ("modernbert", None, "zero"),
    ],
)
def test_new_layers_begin_silent_where_they_can(family: str, given: str | None, expected: str) -> None:
    of = shape(family, plus_first(FAMILIES[family], 4))
    assert upscaled(of, **({"new_layers": given} if given else {}))[-1].growth.new_layers == expected


@pytest.mark.parametrize("train", ["all", "new"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_pre_norm_model_is_unchanged_and_the_cost_is_told(family: str, train: str) -> None:
    kind = FAMILIES[family]
    whole = {"global_attention_every": 1} if kind.first_layer_is_unlike else {}
    stages = upscaled(shape(family, plus_first(kind, 4), **whole), train=train)
    old, new = grown_between(*stages)
    before, after = (float(model(*batch(model.shape))) for model in (old, new))
    assert (before == pytest.approx(after, abs=1e-6)) == kind.is_pre_norm
    assert effect_of_growth(stages, 1) == ("unchanged" if kind.is_pre_norm else "changed (block_expansion)")
    cost, full = (expected_step_flops(schedule(upscaled(stages[1].shape, train=kind)), 1) for kind in (train, "all"))
    assert cost < 0.8 * full if train == "new" else cost == full


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda: METHODS["upscale"](name="upscale").stages(Run(DEEP, 9, 16, 4)),
            "method.source: missing, and upscale gr",
        ),
        (
            lambda: upscaled(DEEP, source(DEEP, num_layers=40), train="new"),
            "method.train: 'new' trains the new layers alone, and the model has no more than the source's 40; set a",
        ),
        (
            lambda: upscaled(shape("gpt2"), source(shape("gpt2"), intermediate_size=32), train="new"),
            "method.train: 'new' freezes the source's layers, and these become wider; set model.intermediate_size=32",
        ),
        (
            lambda: upscaled(shape("gpt2"), source(shape("gpt2"), hidden_size=16, num_heads=1), train="new"),
            "method.train: 'new' freezes the source's layers, and these become wider; set model.hidden_size=16",
        ),
        (lambda: upscaled(DEEP, source(DEEP, num_layers=41)), "cannot grow into the model: 41 layers cannot grow to"),
    ],
    ids=["no source", "no new layers", "wider within", "wider", "shallower"],
)
def test_what_cannot_be_is_refused(make: Callable[[], list[Stage]], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        make()
    assert expected in str(caught.value)
    assert str(caught.value).count(". ") == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"train": "new", "moments": "map"}, "method.moments: 'map' has no effect here"),
        ({"train": "new", "moments": "map", "new_layers": "copy"}, None),
        ({"moments": "map"}, None),
        ({"width": "tiled"}, None),
        ({"growth_map": "interpolate"}, None),
        ({"noise": 0.1}, "method.noise: 0.1 has no effect here"),
        ({"train": "old"}, "method.train: "),
    ],
    ids=str,
)
def test_options_in_vain_are_refused(options: dict[str, Any], expected: str | None, tmp_path: Path) -> None:
    recipe = tiny("gpt2", tmp_path / "run", method="scratch")
    method = {"name": "upscale", "source": source(recipe.model), **options}
    words = [write(recipe, tmp_path / "recipe.yaml"), [f"method={json.dumps(method)}"]]
    if expected is None:
        load_recipe(*words)
        return
    with pytest.raises(UserError, match=expected):
        load_recipe(*words)
