"""What a model takes for one sample."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from transformers import BatchEncoding

Feature = dict[str, Any]
"""By the name of the model's argument: token ids (tokens,) and the like, and labels."""


def feature_of(encoded: "BatchEncoding", row: int) -> Feature:
    """What the model takes for a row, in little memory. The attention mask is left to padding."""
    names = [name for name in ("input_ids", "token_type_ids") if name in encoded]
    return {name: np.array(encoded[name][row], dtype=np.int32) for name in names}
