"""The sizes in a config.json, and what is refused of it."""

import json
import re
from typing import Any

import pytest
from published_configs import PUBLISHED_CONFIGS
from saved_models import SHAPES, own_config, usual

from apollo_ds.errors import UserError, shown
from apollo_ds.models.config_check import check_config
from apollo_ds.models.families import FAMILIES, PRESETS, family_of_config
from apollo_ds.models.shape import ModelShape

every_family = pytest.mark.parametrize("family", FAMILIES)
_FULL, _SLIDING = "full_attention", "sliding_attention"


def shape_of_config(config: dict[str, Any]) -> ModelShape:
    family = family_of_config(config)
    return family.shape_class(**family.sizes_of(config))


def saved_config(family: str, **changes: Any) -> dict[str, Any]:
    """What `save_pretrained` writes, with other values than the class would take."""
    written: dict[str, Any] = json.loads(own_config(family).to_json_string())
    return {**written, **changes}


@every_family
def test_the_sizes_of_a_model_that_transformers_made(family: str) -> None:
    config = saved_config(family)
    kind = FAMILIES[family].shape_class
    assert shape_of_config(config) == kind(family=family, **{**usual(), **SHAPES[family]})
    check_config(shape_of_config(config), config)


@every_family
def test_sizes_of_a_shape_s_own_configuration_are_the_shape_s(family: str) -> None:
    sizes = {**usual(), **SHAPES[family], "initializer_range": 0.03, "norm_epsilon": 1e-4}
    shape = FAMILIES[family].shape_class(family=family, dropout=0.25, **sizes)
    for pad in (0, 5, None):
        config = json.loads(FAMILIES[family].exported_config(shape, pad).to_json_string())
        assert shape_of_config(config) == shape.model_copy(update={"dropout": 0.0})
        check_config(shape_of_config(config), config)


@every_family
def test_what_a_configuration_leaves_out_has_the_default_of_the_class(family: str) -> None:
    keys = {*FAMILIES[family].size_keys.values(), "model_type", "n_inner", "type_vocab_size", "num_key_value_heads"}
    least = {key: value for key, value in saved_config(family).items() if key in keys}
    check_config(shape_of_config(least), least)


@pytest.mark.parametrize("preset", PUBLISHED_CONFIGS)
def test_published_configurations_are_the_presets(preset: str) -> None:
    config = PUBLISHED_CONFIGS[preset]
    shape = shape_of_config(config)
    assert shape.initializer_range == config["initializer_range"]
    assert shape.model_copy(update={"initializer_range": 0.02}) == PRESETS[preset]
    check_config(shape, config)


def test_a_missing_width_within_is_four_times_the_model_s() -> None:
    assert shape_of_config(saved_config("gpt2", n_inner=None)).intermediate_size == 32
    assert shape_of_config(saved_config("gpt2", n_inner=12)).intermediate_size == 12


@pytest.mark.parametrize(
    ("changes", "base"),
    [
        ({"rope_parameters": None, "rope_theta": 700}, 700),
        ({"rope_parameters": None}, 10_000),
        ({"rope_parameters": None, "rope_scaling": {"type": "default"}, "rope_theta": 800.0}, 800),
        ({"rope_parameters": {"rope_theta": 900.0}, "rope_theta": 700}, 900),
        ({"rope_parameters": {"rope_theta": 900.0}, "partial_rotary_factor": 1.0}, 900),
    ],
)
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_the_base_of_rotary_positions(family: str, changes: dict[str, Any], base: float) -> None:
    config = saved_config(family, **changes)
    assert shape_of_config(config).model_dump()["rope_theta"] == base
    check_config(shape_of_config(config), config)


@pytest.mark.parametrize(
    ("kinds", "every"),
    [
        ([_FULL, _SLIDING, _SLIDING, _FULL], 3),
        ([_FULL, _SLIDING, _SLIDING, _SLIDING], 4),
        ([_FULL, _SLIDING, _FULL, _SLIDING], 2),
        ([_FULL] * 4, 1),
        ([_FULL], 3),
    ],
)
def test_layers_that_see_the_whole_sample(kinds: list[str], every: int) -> None:
    config = saved_config("modernbert", layer_types=kinds, num_hidden_layers=len(kinds))
    assert shape_of_config(config).model_dump()["global_attention_every"] == every
    check_config(shape_of_config(config), config)


def test_older_configurations_say_it_by_a_number() -> None:
    config = saved_config("modernbert", layer_types=None, global_attn_every_n_layers=2, rope_parameters=None)
    config |= {"global_rope_theta": 5000, "local_rope_theta": 600}
    sizes = shape_of_config(config).model_dump()
    found = [sizes[key] for key in ("global_attention_every", "global_rope_theta", "local_rope_theta")]
    assert found == [2, 5000, 600]
    check_config(shape_of_config(config), config)


_SCALED = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}
_REFUSED = [
    ("bert", {"hidden_act": "relu"}, "'gelu'"),
    ("bert", {"position_embedding_type": "relative_key"}, "'absolute'"),
    ("bert", {"type_vocab_size": 1}, "2"),
    ("bert", {"is_decoder": True}, "False"),
    ("roberta_prelayernorm", {"type_vocab_size": 2}, "1"),
    ("roberta_prelayernorm", {"tie_word_embeddings": False}, "True"),
    ("gpt2", {"activation_function": "relu"}, "'gelu_new' or 'gelu_pytorch_tanh'"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "False"),
    ("gpt2", {"add_cross_attention": True}, "False"),
    ("gpt_neox", {"use_parallel_residual": False}, "True"),
    ("gpt_neox", {"attention_bias": False}, "True"),
    ("gpt_neox", {"hidden_act": "gelu_fast"}, "'gelu'"),
    ("llama", {"attention_bias": True}, "False"),
    ("llama", {"mlp_bias": True}, "False"),
    ("llama", {"hidden_act": "gelu"}, "'silu'"),
    ("llama", {"head_dim": 6}, "hidden_size / num_attention_heads, 4"),
    ("llama", {"rope_scaling": _SCALED}, "rotary positions that are not scaled"),
    ("llama", {"rope_parameters": _SCALED}, "rotary positions that are not scaled"),
    ("qwen3", {"use_sliding_window": True}, "False"),
    ("qwen3", {"layer_types": [_FULL, _FULL, _SLIDING, _SLIDING]}, "full_attention in all layers"),
    ("modernbert", {"norm_bias": True}, "False"),
    ("modernbert", {"hidden_activation": "silu"}, "'gelu'"),
    ("modernbert", {"rope_scaling": _SCALED}, "rotary positions that are not scaled"),
    ("modernbert", {"layer_types": [_SLIDING, _FULL, _FULL, _FULL]}, f"{_FULL} in the first layer and every so many"),
]


@pytest.mark.parametrize(("family", "changes", "trained"), _REFUSED)
def test_what_no_model_here_computes_is_refused(family: str, changes: dict[str, Any], trained: str) -> None:
    (key, value), *_ = changes.items()
    sentence = f"{key} is {shown(value)}, and {family} is trained here only with {trained}"
    with pytest.raises(UserError, match=rf"^{re.escape(sentence)}.*; use another model$"):
        shape_of_config(saved_config(family, **changes))


@pytest.mark.parametrize(("family", "key"), [("gpt_neox", "rotary_pct"), ("llama", "partial_rotary_factor")])
def test_another_part_of_a_head_that_turns_is_refused(family: str, key: str) -> None:
    part = "0.25" if family == "gpt_neox" else "1"
    sentence = rf"^{key} is 0\.5, and {family} is trained here only with {part}; use another model$"
    within = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5}
    for changes in ({"rope_parameters": None, key: 0.5}, {"rope_parameters": within}):
        with pytest.raises(UserError, match=sentence):
            shape_of_config(saved_config(family, **changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"vocab_size": None}, "vocab_size is missing; save the model again with save_pretrained"),
        ({"hidden_size": "8"}, "hidden_size must be a whole number, not '8'; save the model again"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps must be a number, not 'small'; save the model again"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings must be true or false, not 1; save the model again"),
        ({"model_type": None}, "model_type is missing; save the model again with save_pretrained"),
    ],
)
def test_a_value_of_another_kind_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        shape_of_config(saved_config("llama", **changes))


@pytest.mark.parametrize("given", ["t5", ["llama"]])
def test_a_family_that_is_not_here_is_refused(given: Any) -> None:
    sentence = f"model_type is {given!r}, and these are trained here: bert, gpt2, gpt_neox, llama, modernbert, qwen3, "
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}roberta-prelayernorm$"):
        family_of_config({"model_type": given})


@every_family
def test_the_deep_check_names_a_key_that_differs(family: str) -> None:
    config = saved_config(family)
    shape = shape_of_config(config).model_copy(update={"norm_epsilon": 0.5})
    key = FAMILIES[family].epsilon_key[0]
    with pytest.raises(UserError, match=rf"^{key} is \S+, and {family} is trained here only with 0\.5; use another"):
        check_config(shape, config)


@every_family
def test_the_deep_check_reads_every_key_of_the_class(family: str) -> None:
    """What only training, tasks or speed know of may differ; nothing else may."""
    config = saved_config(family)
    shape = shape_of_config(config)
    free = {"initializer_range": 0.5, "use_cache": False, "dtype": "bfloat16", "architectures": ["Another"]}
    check_config(shape, {**config, **{key: value for key, value in free.items() if key in config}})
    for key, value in config.items():
        if type(value) is int and not key.endswith("_token_id") and key != "sparse_pred_ignore_index":
            if "pdrop" in key or "dropout" in key or key in ("pretraining_tp", "max_window_layers"):
                continue
            with pytest.raises(UserError):
                check_config(shape, {**config, key: 2 * value})


def test_what_transformers_cannot_read_is_refused() -> None:
    config = saved_config("llama")
    with pytest.raises(UserError, match=r"^transformers cannot read it \(.*\); save the model again$"):
        check_config(shape_of_config(config), {**config, "attention_dropout": "none"})


@pytest.mark.parametrize(("key", "value"), [("classifier_activation", "relu"), ("classifier_bias", True)])
def test_the_head_of_a_modernbert_is_compared(key: str, value: Any) -> None:
    config = saved_config("modernbert")
    check_config(shape_of_config(config), config)
    with pytest.raises(UserError, match=f"^{key} is {value}".replace("relu", "'?relu'?")):
        check_config(shape_of_config(config), {**config, key: value})
