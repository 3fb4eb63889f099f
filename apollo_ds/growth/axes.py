"""What the dimensions of each parameter mean, so that one rule widens every model family.

Each dimension has an axis and a side of it. Along `out` a unit is produced, so a copy of it is an equal row; along
`in` it is consumed, so copies share what the one consumed. `final` is the last normalisation before a tied head: its
output is consumed by the embedding matrix, whose copies cannot be scaled down because the input uses them too. The
units of BERT's head transform have an axis of their own, which grows like `embedding` but may be mapped differently.
"""

import re
from typing import Literal, NamedTuple

Axis = Literal["embedding", "transform", "heads", "qkv", "ffn"]
Side = Literal["out", "in", "final"]


class Dimension(NamedTuple):
    """One dimension of a parameter."""

    axis: Axis
    side: Side


Dimensions = tuple[Dimension | None, ...]
"""A parameter's dimensions; None for one that does not grow (vocabulary, positions)."""

_OUT, _IN, _FINAL = Dimension("embedding", "out"), Dimension("embedding", "in"), Dimension("embedding", "final")
_TRANSFORM_OUT, _TRANSFORM_FINAL = Dimension("transform", "out"), Dimension("transform", "final")
_HEADS_OUT, _HEADS_IN, _QKV_OUT = Dimension("heads", "out"), Dimension("heads", "in"), Dimension("qkv", "out")
_FFN_OUT, _FFN_IN = Dimension("ffn", "out"), Dimension("ffn", "in")

# The first pattern that ends a name decides. Linear weights are (out, in), GPT-2's Conv1D weights (in, out).
_AXES: dict[str, list[tuple[str, Dimensions]]] = {
    "bert": [
        (r"embeddings\.(word|position|token_type)_embeddings\.weight", (None, _OUT)),
        (r"attention\.self\.(query|key|value)\.weight", (_HEADS_OUT, _IN)),
        (r"attention\.self\.(query|key|value)\.bias", (_HEADS_OUT,)),
        (r"attention\.output\.dense\.weight", (_OUT, _HEADS_IN)),
        (r"intermediate\.dense\.weight", (_FFN_OUT, _IN)),
        (r"intermediate\.dense\.bias", (_FFN_OUT,)),
        (r"predictions\.transform\.dense\.weight", (_TRANSFORM_OUT, _IN)),
        (r"predictions\.transform\.dense\.bias", (_TRANSFORM_OUT,)),
        (r"predictions\.transform\.LayerNorm\.(weight|bias)", (_TRANSFORM_FINAL,)),
        (r"predictions\.bias", (None,)),
        (r"output\.dense\.weight", (_OUT, _FFN_IN)),
        (r"(dense\.bias|LayerNorm\.(weight|bias))", (_OUT,)),
    ],
    "roberta_prelayernorm": [
        (r"embeddings\.(word|position|token_type)_embeddings\.weight", (None, _OUT)),
        (r"attention\.self\.(query|key|value)\.weight", (_HEADS_OUT, _IN)),
        (r"attention\.self\.(query|key|value)\.bias", (_HEADS_OUT,)),
        (r"attention\.output\.dense\.weight", (_OUT, _HEADS_IN)),
        (r"intermediate\.dense\.weight", (_FFN_OUT, _IN)),
        (r"intermediate\.dense\.bias", (_FFN_OUT,)),
        (r"lm_head\.dense\.weight", (_TRANSFORM_OUT, _IN)),
        (r"lm_head\.dense\.bias", (_TRANSFORM_OUT,)),
        (r"lm_head\.layer_norm\.(weight|bias)", (_TRANSFORM_FINAL,)),
        (r"lm_head\.bias", (None,)),
        (r"output\.dense\.weight", (_OUT, _FFN_IN)),
        (r"(dense\.bias|LayerNorm\.(weight|bias))", (_OUT,)),
    ],
    "gpt2": [
        (r"(wte|wpe)\.weight", (None, _OUT)),
        (r"attn\.c_attn\.weight", (_IN, _QKV_OUT)),
        (r"attn\.c_attn\.bias", (_QKV_OUT,)),
        (r"attn\.c_proj\.weight", (_HEADS_IN, _OUT)),
        (r"mlp\.c_fc\.weight", (_IN, _FFN_OUT)),
        (r"mlp\.c_fc\.bias", (_FFN_OUT,)),
        (r"mlp\.c_proj\.weight", (_FFN_IN, _OUT)),
        (r"ln_f\.(weight|bias)", (_FINAL,)),
        (r"(c_proj\.bias|ln_[12]\.(weight|bias))", (_OUT,)),
    ],
}

_RESIDUAL_OUTPUTS = {
    "roberta_prelayernorm": re.compile(r"\.\d+\.(attention\.)?output\.dense\.(weight|bias)$"),
    "bert": re.compile(r"\.\d+\.(attention\.)?output\.dense\.(weight|bias)$"),
    "gpt2": re.compile(r"\.c_proj\.(weight|bias)$"),
}
_NORMALISATIONS = {
    "bert": re.compile(r"LayerNorm\.(weight|bias)$"),
    "roberta_prelayernorm": re.compile(r"(LayerNorm|layer_norm)\.(weight|bias)$"),
    "gpt2": re.compile(r"ln_[12f]\.(weight|bias)$"),
}


def dimensions(family: str, name: str) -> Dimensions:
    """The dimensions of a parameter.

    Raises:
        KeyError: the family has no such parameter.
    """
    for pattern, found in _AXES[family]:
        if re.search(rf"\.{pattern}$", name):
            return found
    raise KeyError(f"{name}: its dimensions in family {family} are not known")


def is_residual_output(family: str, name: str) -> bool:
    """Whether a parameter writes a block's branch into the residual stream, so that zeros silence the branch."""
    return bool(_RESIDUAL_OUTPUTS[family].search(name))


def is_normalisation(family: str, name: str) -> bool:
    """Whether a parameter scales or shifts a normalisation."""
    return bool(_NORMALISATIONS[family].search(name))
