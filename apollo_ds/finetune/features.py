"""The input of a model for one sample."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from transformers import BatchEncoding

Feature = dict[str, Any]
"""The model's arguments by name: token ids, shape (tokens,), others of that shape, and labels."""


def feature_of(encoded: "BatchEncoding", row: int) -> Feature:
    """The model's input for a row, stored in little memory. Padding adds the attention mask later."""
    names = [name for name in ("input_ids", "token_type_ids") if name in encoded]
    return {name: np.array(encoded[name][row], dtype=np.int32) for name in names}
