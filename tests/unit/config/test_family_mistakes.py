"""What a user gets wrong with families and their sizes is one sentence, before anything runs."""

import re
from typing import Any

import pytest

from apollo_ds.config.load import load_recipe
from apollo_ds.config.ready import check_ready
from apollo_ds.errors import UserError

SMALL = ["model.hidden_size=64", "model.num_heads=4", "model.intermediate_size=128", "data=none"]
LLAMA = [*SMALL, "model.num_key_value_heads=2"]
MODERNBERT = ["model.num_layers=5", "model.hidden_size=64", "model.num_heads=4", "data=none", "steps=100"]


@pytest.mark.parametrize(
    ("recipe", "words", "sentence"),
    [
        ("llama-160m", ["model.num_key_value_heads=5"], "does not divide num_heads 4; use one of 1, 2, 4"),
        ("llama-160m", ["model.num_key_value_heads=8"], "does not divide num_heads 4; use one of 1, 2, 4"),
        ("llama-160m", ["model.num_key_value_heads=0"], "model.num_key_value_heads: must be greater than 0, not 0"),
        ("llama-160m", ["model.hidden_size=60"], "num_heads 4 makes heads of 15 units, and rotary positions need a"),
        ("llama-160m", ["model.head_dim=16"], "unknown key model.head_dim; families that have it: qwen3"),
        (
            "bert-base",
            ["model.rope_theta=1e4"],
            "model.rope_theta; families that have it: gpt_neox, llama, qwen3",
        ),
        (
            "llama-160m",
            ["method={name: net2net, new_layers: identity}"],
            "a llama cannot be identities",
        ),
        ("llama-160m", ["method={name: staged, new_layers: identity}"], "or never learn; use zero, or remove it"),
        ("llama-160m", ["method={name: sprout, new_layers: identity}"], "units and gates are zero, so that those of a"),
        ("llama-160m", ["method=mango"], "mango cuts matrices into square blocks"),
        (
            "llama-160m",
            ["method={name: staged, operators: [width], grow_at: [0.5], new_layers: zero}"],
            "method.new_layers: 'zero' has no effect here",
        ),
        ("modernbert-base", ["model.num_layers=1", "method=apollo"], "so a model that grows has at least 2, not 1"),
        ("modernbert-base", ["model.local_attention=9"], "model.local_attention: "),
        ("modernbert-base", ["method=ligo"], "ligo mixes all layers, and the first of a modernbert lacks a part"),
        ("modernbert-base", ["method={name: deep_jump, first_layers: 1}"], "use at least 2, not 1"),
        (
            "modernbert-base",
            ["method={name: apollo, layers: [1, 3, 5], grow_at: [0.2, 0.5]}"],
            "one layer cannot",
        ),
        ("modernbert-base", ["method=staged", "model.num_layers=6"], "cannot be halved as often"),
        ("bert-base", ["model.layernorm_scale=true"], "those of a bert read no normalisation of their own"),
        ("llama-160m", ["model.complete_p_alpha=0.5"], "has no effect without residual_scale: complete_p"),
        ("llama-160m", ["model.residual_scale=complete_p", "model.complete_p_alpha=0.4"], "at least 0.5, not 0.4"),
        ("llama-160m", ["model.residual_scale=sqrt"], "model.residual_scale: "),
        ("llama-160m", ["method={name: progressive_residual, fraction: 0}"], "must be greater than 0, not 0"),
    ],
)
def test_a_mistake_is_told_before_the_run(recipe: str, words: list[str], sentence: str) -> None:
    small = LLAMA if recipe == "llama-160m" else MODERNBERT if recipe == "modernbert-base" else []
    with pytest.raises(UserError, match=re.escape(sentence)):
        check_ready(load_recipe(recipe, [*small, *words]), ranks=1, is_prepared=False)


@pytest.mark.parametrize("method", ["net2net", "staged"])
def test_what_takes_the_place_of_identities_may_be_named(method: str) -> None:
    named: Any = load_recipe("llama-160m", [*LLAMA, f"method={{name: {method}, new_layers: zero}}"])
    usual: Any = load_recipe("llama-160m", [*LLAMA, f"method={method}"])
    assert named.schedule().stages == usual.schedule().stages
    assert {stage.growth.new_layers for stage in usual.schedule().stages[1:]} == {"zero"}


def test_a_growth_of_a_nearest_number_of_layers_is_planned() -> None:
    load_recipe("modernbert-base", [*MODERNBERT, "method=staged", "model.num_layers=7"])
