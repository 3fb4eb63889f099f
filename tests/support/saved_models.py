"""Small models as people have them: made by `transformers` from its own configurations, with random weights."""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from apollo_ds.models.families import FAMILIES

_SIZES = {
    "vocab_size": 31,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "max_position_embeddings": 10,
}
_OWN: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 1, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "qwen3": {"num_key_value_heads": 1, "head_dim": 6, "tie_word_embeddings": True},
    "gpt2": {"pad_token_id": 3},
    "modernbert": {"local_attention": 4},
    "roberta_prelayernorm": {"type_vocab_size": 1, "max_position_embeddings": 14, "pad_token_id": 3},
}
_TOKENS = {f"{name}_token_id": 1 for name in ("pad", "bos", "eos", "cls", "sep")}
SHAPES: dict[str, dict[str, Any]] = {
    "bert": {},
    "gpt2": {"intermediate_size": 32},
    "gpt_neox": {"tie_word_embeddings": False},
    "llama": {"num_key_value_heads": 1, "rope_theta": 500.0, "tie_word_embeddings": False, "norm_epsilon": 1e-6},
    "modernbert": {"local_attention": 4},
    "qwen3": {"num_key_value_heads": 1, "head_dim": 6, "rope_theta": 10_000.0},
    "roberta_prelayernorm": {},
}
"""What a shape must say of each beside the usual sizes."""


def own_config(family: str, **changes: Any) -> Any:
    """A configuration by the class of a family, not by the family here."""
    kind = type(FAMILIES[family].config(FAMILIES[family].shape_class(family=family, **usual())))
    taken = {name: value for name, value in {**_SIZES, **_TOKENS}.items() if hasattr(kind(), name)}
    return kind(**{**taken, **_OWN.get(family, {}), **changes})


def usual() -> dict[str, int]:
    """The sizes of all of them, as a shape has them."""
    keys = ("vocab_size", "hidden_size", "intermediate_size", "num_layers", "num_heads", "max_position_embeddings")
    return dict(zip(keys, _SIZES.values(), strict=True))


def made(family: str, dtype: torch.dtype = torch.float32, **changes: Any) -> PreTrainedModel:
    """A model of which every weight is random."""
    torch.manual_seed(7)
    model = FAMILIES[family].model_class()(own_config(family, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model.to(dtype)


def saved(
    folder: Path, family: str, shard_size: str = "5GB", dtype: torch.dtype = torch.float32, **changes: Any
) -> Path:
    """A folder with one of them."""
    made(family, dtype, **changes).save_pretrained(folder, max_shard_size=shard_size)
    return folder
