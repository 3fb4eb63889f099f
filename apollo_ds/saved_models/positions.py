"""How many tokens a model takes at once, whatever its family."""

import copy

import torch
from transformers import AutoModel, PretrainedConfig


def counts_positions_from_padding(config: PretrainedConfig) -> bool:
    """Whether the model's first token has the position after the padding token's id, as in RoBERTa and its kin.

    Such a model gives its table of positions a row for padding, which says so of any family. The model is built
    without memory for its weights.

    Raises:
        ValueError: `transformers` has no model for the configuration.
    """
    with torch.device("meta"):
        model = AutoModel.from_config(copy.deepcopy(config))
    tables = [part for name, part in model.named_modules() if "position" in name]
    return any(getattr(table, "padding_idx", None) is not None for table in tables)


def most_tokens(config: PretrainedConfig, counts_from_padding: bool) -> int | None:
    """The most tokens that the model takes at once. None where its positions have no end."""
    most = getattr(config, "max_position_embeddings", None)
    return most - config.pad_token_id - 1 if most and counts_from_padding else most
