"""Checks that a model here computes what a configuration of `transformers` says."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from apollo_ds.errors import UserError, shown
from apollo_ds.models.families import family_of
from apollo_ds.models.saved_config import SavedConfig
from apollo_ds.models.shape import ModelShape
from data_prep.errors import first_line

_SAYS_NOTHING = frozenset(
    (
        *("_name_or_path", "architectures", "model_type", "transformers_version", "dtype"),
        *("id2label", "label2id", "problem_type", "return_dict", "output_attentions", "output_hidden_states"),
        *("use_cache", "chunk_size_feed_forward", "pretraining_tp", "reorder_and_upcast_attn"),  # how, not what
        *("deterministic_flash_attn", "sparse_prediction", "sparse_pred_ignore_index"),
        *("initializer_range", "initializer_cutoff_factor"),  # of fresh weights
        "max_window_layers",  # of windows, which `use_sliding_window` decides
    )
)
"""Keys that do not change what a trained model computes."""
_KINDS = ("_token_id", "dropout", "dropout_prob", "_pdrop")
"""Ends of further such keys: of tokens, which the tokenizer decides, and of dropout, which only training uses."""
_HEADS = ("classifier_pooling", "classifier_dropout", "summary_")
"""Beginnings of further such keys, which belong to heads for tasks. ModernBERT's pretraining head uses
`classifier_activation` and `classifier_bias`, which are not among them."""
_SAME = ({"gelu_new", "gelu_pytorch_tanh"},)
"""Values that compute the same."""

_OLDER = "type"
"""The old name of `rope_type`; transformers keeps both."""
_UNSAID = {"partial_rotary_factor": 1.0}
"""Values of rotary positions' keys that are missing."""


def check_config(shape: ModelShape, config: Mapping[str, Any]) -> None:
    """Compare the values of a config.json, key by key, with the configuration of a model of a shape.

    Both are completed by the class of the family, so that what is missing counts as the class takes it.
    What is null even then follows from other keys.

    Raises:
        UserError: the class cannot read it, or a key that decides what a model computes differs; the message begins
            with the key.
    """
    family = family_of(shape)
    plain = family.config(shape)
    try:
        theirs = type(plain).from_dict(deepcopy(dict(config)))  # it changes what it is given
        ours = family.exported_config(shape, theirs.pad_token_id).to_dict()
    except Exception as error:  # of many classes
        raise UserError(f"transformers cannot read it ({first_line(error)}); save the model again") from None
    for key, value in theirs.to_dict().items():
        if value is not None and key in ours and _decides(key) and not _is_same(ours[key], value):
            raise SavedConfig(config, shape.family).refused(key, value, shown(ours[key]))


def _decides(key: str) -> bool:
    return key not in _SAYS_NOTHING and not key.endswith(_KINDS) and not key.startswith(_HEADS)


def _is_same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        keys = {*ours, *theirs} - {_OLDER}
        return all(_is_same(*(values.get(key, _UNSAID.get(key)) for values in (ours, theirs))) for key in keys)
    return ours == theirs or any(isinstance(theirs, str) and {ours, theirs} <= same for same in _SAME)
