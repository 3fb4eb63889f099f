"""Recipes: what may be written, overridden and left out, and what a mistake is told."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from least_recipe import LEAST, complaint
from project import PROJECT

from apollo_ds.config.load import load_recipe, resolve
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.recorded import with_defaults
from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS
from apollo_ds.models.families import FAMILIES, PRESETS
from apollo_ds.models.flops import parameters
from apollo_ds.planning.plan import plan

RECIPES = sorted((PROJECT / "launch" / "recipes").glob("*.yaml"))


def test_what_is_left_out_has_a_default() -> None:
    recipe = resolve(LEAST, "test")
    assert recipe.model == PRESETS["bert-small"]
    assert (recipe.seed, recipe.seq_len, recipe.lr_schedule, recipe.deepspeed) == (42, 128, None, {})
    assert recipe.method == METHODS["apollo"](name="apollo")
    assert recipe.schedule().learning_rate.policy == "cosine"


@pytest.mark.parametrize(("seq_len", "expected"), [(1023, False), (1024, True)])
def test_documents_of_long_samples_do_not_see_each_other_unless_the_recipe_says_so(
    seq_len: int, expected: bool
) -> None:
    words = ["model=gpt2-base", "model.max_position_embeddings=4096", "data=none", f"seq_len={seq_len}"]
    recipe = load_recipe(PROJECT / "launch" / "recipes" / "bert-base.yaml", words)
    assert recipe.document_mask == recipe.plain()["document_mask"] == expected
    assert load_recipe(PROJECT / "launch" / "recipes" / "gpt2-base.yaml").document_mask is False


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("steps=500", "steps", 500),
        ("learning_rate=2e-3", "learning_rate", 2e-3),  # YAML 1.1 takes this for text
        ("data=/elsewhere/text", "data", Path("/elsewhere/text")),
        ("out=~/runs", "out", Path.home() / "runs"),
        ("adam_betas=[0.8, 0.95]", "adam_betas", (0.8, 0.95)),
        ("model=gpt2-base", "model", PRESETS["gpt2-base"]),
        ("model.num_layers=6", "model", PRESETS["bert-small"].model_copy(update={"num_layers": 6})),
        ("method=scratch", "method", METHODS["scratch"]()),
        ("method.sampler=es", "method", METHODS["apollo"](sampler="es")),
        ("method.layers=[1, 4]", "method", METHODS["apollo"](layers=[1, 4])),
    ],
)
def test_an_override_replaces_a_value(override: str, key: str, expected: Any, recipe_file: Path) -> None:
    plain_recipe, recipe = load_recipe(recipe_file), load_recipe(recipe_file, [override])
    assert getattr(recipe, key) == expected
    assert recipe != plain_recipe
    assert recipe == plain_recipe.model_copy(update={key: expected})


def test_overrides_apply_in_their_order(recipe_file: Path) -> None:
    overrides = ["deepspeed.bf16.enabled=false", "deepspeed=ds_configs/zero2.json", "steps=500", "steps=600"]
    recipe = load_recipe(recipe_file, overrides)
    assert recipe.deepspeed == json.loads((PROJECT / "ds_configs" / "zero2.json").read_text())
    assert recipe.steps == 600


@pytest.mark.parametrize(
    ("ranks", "expected"), [(1, 4), (2, 4), (3, 4), (4, 3), (6, 4), (8, 3), (12, 2), (24, 1)], ids=str
)
def test_the_micro_batch_is_the_largest_divisor_of_a_rank_s_share(ranks: int, expected: int) -> None:
    assert resolve(LEAST, "test").micro_batch(ranks) == expected


@pytest.mark.parametrize("ranks", [5, 7, 16, 48])
def test_ranks_that_do_not_divide_the_batch_are_refused(ranks: int) -> None:
    with pytest.raises(UserError, match=f"^global_batch_size: {ranks} ranks do not divide 24; use a multiple"):
        resolve(LEAST, "test").micro_batch(ranks)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_that_come_with_the_package_load(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.schedule().total_steps == recipe.steps
    assert recipe.micro_batch(2) <= recipe.micro_batch_size
    assert recipe.out == Path("runs") / path.stem


def test_every_family_has_a_recipe_and_new_ones_explain_each_key() -> None:
    assert {load_recipe(path).model.family for path in RECIPES} == set(FAMILIES)
    for path in RECIPES:
        if "document_mask: true" in path.read_text():
            keys = [line for line in path.read_text().splitlines() if not line.startswith("#")]
            assert all(re.fullmatch(r" *[a-z_]+:.* # \S.*", line) for line in keys), path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_are_planned(path: Path) -> None:
    recipe = load_recipe(path)
    planned = plan(recipe)
    assert planned["total"]["steps"] == recipe.steps
    assert planned["stages"][-1]["parameters"] == parameters(recipe.model, recipe.model.num_layers)
    assert planned["total"]["flops"] < planned["total"]["scratch_flops"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
@pytest.mark.parametrize("overrides", [[], ["method=[deep_jump, {name: pld, theta: 0.4}]"]], ids=len)
def test_a_resolved_recipe_is_read_back_as_it_was(path: Path, overrides: list[str]) -> None:
    recipe = load_recipe(path, overrides)
    assert resolve(yaml.safe_load(yaml.safe_dump(recipe.plain())), "test") == recipe


@pytest.mark.parametrize("name", ["bert-base", "bert-large", "gpt2-base"])
def test_a_recipe_named_after_a_preset_is_that_model_with_the_published_dropout(name: str) -> None:
    assert load_recipe(name).model == PRESETS[name].model_copy(update={"dropout": 0.1})


def test_gpt2_grows_after_2_4_and_10_of_35_epochs() -> None:
    ends = load_recipe("gpt2-base", ["steps=3500"]).schedule().first_steps[1:]
    assert ends == pytest.approx([200, 400, 1000], abs=1)


@pytest.mark.parametrize("method", ["scratch", "apollo"])
def test_a_method_s_name_takes_no_option_from_the_mapping_that_it_replaces(method: str) -> None:
    assert load_recipe("gpt2-base", [f"method={method}"]).method == METHODS[method](name=method)


@pytest.mark.parametrize(
    ("method", "option", "today", "before"),
    [("sprout", "first_layers", 2, 1), ("bert2bert", "growth_map", "stack", "interpolate")],
)
def test_a_recorded_method_without_an_option_has_what_it_did_then(
    method: str, option: str, today: Any, before: Any
) -> None:
    recorded = load_recipe(RECIPES[0], [f"method={method}"]).plain()
    assert with_defaults(recorded)["method"][option] == today
    del recorded["method"][option]
    assert with_defaults(recorded)["method"][option] == before


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("stpes=500", "unknown key stpes; did you mean steps?"),
        ("lr=1e-3", "unknown key lr; did you mean learning_rate?"),
        ("model.num_layer=6", "unknown key model.num_layer; did you mean model.num_layers?"),
        ("method.sample=es", "unknown key method.sample; did you mean method.sampler?"),
        ("steps=many", "steps: must be a whole number, not 'many'"),
        ("steps=0", "steps: must be greater than 0, not 0"),
        ("learning_rate=-1e-4", "learning_rate: must be greater than 0, not -0.0001"),
        ("adam_betas=0.9", "adam_betas: must be a list in brackets, not 0.9"),
        ("lr_schedule=cosin", "lr_schedule: choose one of cosine, linear, wsd, constant, not 'cosin'"),
        (
            "model.family=t5",
            "model.family: there is no 't5'; choose one of bert, gpt2, gpt_neox, "
            "llama, modernbert, qwen3, roberta_prelayernorm",
        ),
        ("model.num_heads=7", "model: num_heads 7 does not divide hidden_size 512"),
        ("model=bert-bas", "model: there is no preset 'bert-bas'; did you mean bert-base?"),
        ("model=", "model: "),
        ("method=apolo", "method: there is no 'apolo'; did you mean apollo?"),
        ("method=", "method: there is no None; choose one of apollo, bert2bert"),
        ("method.name=[apollo]", "method: there is no ['apollo']; did you mean apollo?"),
        ("method={names: apollo}", "method.name is missing; choose one of apollo, bert2bert"),
        ("method=[]", "method: the list is empty; name at least one method"),
        ("method=[pld, apollo]", "method: apollo makes its own stages, so it can only stand first in the list"),
        ("method=[apollo, quux]", "method[1]: there is no 'quux'; choose one of apollo, bert2bert"),
        ("method=[apollo, {name: pld, thetas: 1}]", "unknown key method[1].thetas; did you mean method[1].theta?"),
        ("method=[apollo, {name: pld, theta: 9}]", "method[1].theta: must be at most 1, not 9"),
        (
            "model={fam: bert}",
            "model.family is missing; choose one of bert, gpt2, gpt_neox, "
            "llama, modernbert, qwen3, roberta_prelayernorm",
        ),
        ("model=3", "model: there is no preset '3'; choose one of bert-small"),
        ("out=", "out: is empty; name a folder"),
        ("deepspeed=[1]", "deepspeed: must be a mapping, not [1]"),
        ("method.sampler=lvsp", "method.sampler: there is no 'lvsp'; did you mean lvps?"),
        ("method.layers=[1, 3, 2, 4]", "method.layers: must increase from at least 1 to the model's 4, not [1, 3, 2"),
        ("method.layers=[1, 2, 2, 4]", "method.layers: must increase"),
        ("method.layers=[0, 4]", "method.layers: must increase from at least 1"),
        ("method.layers=[1, 2]", "method.layers: must increase from at least 1 to the model's 4"),
        ("method.grow_at=[0.5]", "method.grow_at: must have 2 fractions for 3 stages, not [0.5]"),
        ("method.grow_at=[0.5, 0.2]", "method.grow_at: fractions must increase between 0 and 1"),
        ("method.grow_at=[0.5, 1.0]", "method.grow_at: fractions must increase between 0 and 1"),
        ("steps=3", "stage 1 of 3 has no steps; raise `steps`"),
        ("seq_len=513", "seq_len 513 is longer than model.max_position_embeddings 512"),
        ("masking=words", "masking: choose one of token, whole_word, not 'words'"),
        ("deepspeed.train_batch_size=8", "deepspeed.train_batch_size is set by the recipe's global_batch_size; remove"),
        ("deepspeed.train_micro_batch_size_per_gpu=8", "is set by the recipe's micro_batch_size; remove it"),
        ("deepspeed.gradient_accumulation_steps=8", "is set by the recipe's micro_batch_size; remove it"),
        ("deepspeed.optimizer.type=Adam", "deepspeed.optimizer is set by the recipe's optimizer, weight_decay"),
        ("deepspeed.scheduler.type=WarmupLR", "deepspeed.scheduler is set by the recipe's lr_schedule; remove it"),
        (
            "deepspeed.zero_optimization.round_robin_gradients=true",
            "round_robin_gradients is not supported: it changes which rank owns what",
        ),
        ("deepspeed.torch_autocast.enabled=true", "deepspeed.torch_autocast is not supported; use bf16 or fp16"),
        ("deepspeed.zero_optimization=3", "deepspeed.zero_optimization"),
        ("deepspeed.zero_optimization=", "deepspeed.zero_optimization"),
        ("deepspeed.bf16=false", "deepspeed.bf16"),
        ("deepspeed.bf16.enabled=maybe", "deepspeed.bf16.enabled: choose one of true, false, auto, not 'maybe'"),
    ],
)
def test_a_wrong_value_of_the_command_line_is_told_key_and_fix(override: str, expected: str, recipe_file: Path) -> None:
    message = complaint(recipe_file, override)
    assert expected in message
    assert message.startswith("command line: ")


def test_whole_words_are_for_bert(recipe_file: Path) -> None:
    assert load_recipe(recipe_file, ["masking=whole_word"]).masking == "whole_word"
    with pytest.raises(UserError, match=r"masking: whole_word is for masked models, and gpt2 is none; remove it"):
        load_recipe(recipe_file, ["masking=whole_word", "model=gpt2-base"])


@pytest.mark.parametrize(
    "override",
    [
        "seed=-1",
        "adam_betas=[0.9, 1.5]",
        "model.dropout=1.5",
        "model.dropout=-0.1",
        "warmup_fraction=2.5",
        "learning_rate=.inf",
        "weight_decay=1e999",
        "model.initializer_range=.inf",
        "peak_flops=.nan",
        "method.noise=.inf",
        "seed=99999999999999999999999999",
        "steps=99999999999999999999",
        "model.hidden_size=99999999999999999999",
        "deepspeed.zero_optimization.reduce_bucket_size=99999999999999999999",
        "hang_seconds=1e300",
    ],
)
def test_a_number_that_training_cannot_use_is_refused(override: str, recipe_file: Path) -> None:
    assert override.partition("=")[0] in complaint(recipe_file, override)


@pytest.mark.parametrize("key", [key for key in LEAST if Recipe.model_fields[key].is_required()])
def test_a_missing_key_is_named(key: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in LEAST.items() if name != key}))
    assert complaint(path) == f"{path}: {key} is missing"


def test_a_missing_size_of_a_model_is_named(recipe_file: Path) -> None:
    message = complaint(recipe_file, "model={family: bert, num_layers: 4}")
    assert message == "command line: model.hidden_size is missing"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("steps", "'steps' is not an override; write key=value"),
        ("=5", "'=5' is not an override; write key=value"),
        ("steps=[1", "steps: '[1' is not a YAML value"),
        ("model.num_layers.x=5", "model.num_layers.x: num_layers is not a mapping"),
        ("model.num_layers.x.y=5", "model.num_layers.x.y: num_layers is not a mapping"),
    ],
)
def test_an_override_that_cannot_be_applied_is_named(override: str, expected: str, recipe_file: Path) -> None:
    assert complaint(recipe_file, override) == f"command line: {expected}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty; a recipe is a YAML file with lines such as seed: 1"),
        (b"- steps\n- 3\n", "a recipe has lines of a key and its value, such as seed: 1"),
        (b"steps: [1\nseed: }\n", "not valid YAML: "),
        (b"1: 2\n", "line 1: the key 1 is not text; quote it"),
        (b"\xff\xfe\x00\x01", "is not UTF-8 from byte 0 on"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    assert complaint(path).startswith(f"{path}: {expected}")


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    assert (
        complaint(tmp_path / "nothing.yaml")
        == f"{tmp_path}/nothing.yaml: there is no such recipe; `apollo-ds init` writes one"
    )


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    assert complaint(tmp_path).startswith(f"{tmp_path}: ")
