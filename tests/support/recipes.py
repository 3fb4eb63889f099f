"""Small recipes for tests: a model of a few thousand parameters on a made-up corpus."""

from pathlib import Path
from typing import Any

import yaml
from corpora import corpus

from apollo_ds.config.load import resolve
from apollo_ds.config.recipe import Recipe
from apollo_ds.models.families import FAMILIES


def tiny(family: str, out: Path | str, **changes: Any) -> Recipe:
    """Six layers of 32 hidden, grown 1 -> 3 -> 6 unless `changes` says otherwise; fp32, ZeRO 1.

    Where the first layer is unlike the others, it is one more at each time.
    """
    prepared, first = corpus(family), int(FAMILIES[family].first_layer_is_unlike)
    values: dict[str, Any] = {
        "model": {
            "family": family,
            "num_layers": first + 6,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 64,
            "vocab_size": prepared.vocab_size,
            "max_position_embeddings": 32,
            **_own_sizes(family),
        },
        "method": {"name": "apollo", "layers": [first + 1, first + 3, first + 6], "grow_at": [0.25, 0.5]},
        "data": str(prepared.folder),
        "out": str(out),
        "steps": 20,
        "seq_len": 32,
        "global_batch_size": 8,
        "micro_batch_size": 4,
        "learning_rate": 3e-3,
        "eval_every": 10,
        "eval_samples": 16,
        "save_every": 10,
        "deepspeed": zero(1),
    }
    return resolve({**values, **changes}, "test recipe")


def _own_sizes(family: str) -> dict[str, Any]:
    """Sizes at which what a family has of its own matters: grouped heads, a matrix of the head's own, windows."""
    sizes = {"num_key_value_heads": 1, "tie_word_embeddings": family != "gpt_neox", "local_attention": 8}
    return {key: value for key, value in sizes.items() if key in FAMILIES[family].shape_class.model_fields}


def zero(stage: int, precision: str = "fp32") -> dict[str, Any]:
    """A DeepSpeed configuration."""
    config: dict[str, Any] = {
        "zero_optimization": {"stage": stage},
        "gradient_clipping": 1.0,
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1_000_000,
    }
    if precision == "bf16":
        config["bf16"] = {"enabled": True, "check_grad_overflow": False}
    elif precision == "fp16":
        config["fp16"] = {"enabled": True}
    return config


def write(recipe: Recipe, path: Path) -> str:
    """The recipe as a file."""
    path.write_text(yaml.safe_dump(recipe.plain()))
    return str(path)
