"""Find out how many tokens a model of any family takes at once."""

import copy

import torch
from transformers import AutoModel, PretrainedConfig


def counts_positions_from_padding(config: PretrainedConfig) -> bool:
    """Whether positions are counted from the padding token's id. In RoBERTa the first token has that id plus one.

    In every such family the table of positions has a row for padding, which shows it. To look at the table, the model
    is built without memory for its weights.

    Raises:
        ValueError: `transformers` has no model for the configuration.
    """
    with torch.device("meta"):
        model = AutoModel.from_config(copy.deepcopy(config))
    tables = [part for name, part in model.named_modules() if "position" in name]
    return any(getattr(table, "padding_idx", None) is not None for table in tables)


def most_tokens(config: PretrainedConfig, counts_from_padding: bool) -> int | None:
    """The most tokens that the model takes at once. None if there is no limit."""
    most = getattr(config, "max_position_embeddings", None)
    return most - config.pad_token_id - 1 if most and counts_from_padding else most
