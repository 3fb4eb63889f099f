"""What the dimensions of a parameter mean, so that one rule widens every model family.

A dimension has an axis and a side. Along `out` a unit is produced: a copy of the unit is an equal row. Along `in` a
unit is consumed: copies share what the one unit gave. `final` is the last normalisation before a tied head: the
embedding matrix consumes its output, and the matrix's copies cannot be scaled down because the input uses them too.
The units of a masked model's head transform have an axis of their own. It grows like `embedding`, but may be mapped
differently.

Some matrices hold several of these end to end. In `qkv` these are query, key and value; in `qkv_by_head` those of the
first head, then those of the next. In `gated` they are the feed-forward units and as many gates.

A family's file gives the dimensions of each of its parameters. Linear weights are (out, in), Conv1D weights (in, out).
"""

from typing import Literal, NamedTuple

from apollo_ds.models.shape import ModelShape

Axis = Literal["embedding", "transform", "heads", "key_value", "qkv", "qkv_by_head", "ffn", "gated"]
Side = Literal["out", "in", "final"]
INNER: frozenset[Axis] = frozenset(["heads", "key_value", "qkv", "qkv_by_head", "ffn", "gated"])
"""The axes whose units exist within one layer."""


class Dimension(NamedTuple):
    """One dimension of a parameter."""

    axis: Axis
    side: Side


Dimensions = tuple[Dimension | None, ...]
"""A parameter's dimensions; None for one that does not grow (vocabulary, positions)."""

OUT, IN, FINAL = Dimension("embedding", "out"), Dimension("embedding", "in"), Dimension("embedding", "final")
TRANSFORM_OUT, TRANSFORM_FINAL = Dimension("transform", "out"), Dimension("transform", "final")
HEADS_OUT, HEADS_IN, KEY_VALUE_OUT = Dimension("heads", "out"), Dimension("heads", "in"), Dimension("key_value", "out")
QKV_OUT, QKV_BY_HEAD_OUT = Dimension("qkv", "out"), Dimension("qkv_by_head", "out")
FFN_OUT, FFN_IN, GATED_OUT = Dimension("ffn", "out"), Dimension("ffn", "in"), Dimension("gated", "out")


def axis_size(axis: Axis, shape: ModelShape) -> int:
    """How many units an axis has in a model of this shape."""
    heads = shape.num_heads * shape.head_size
    sizes: dict[Axis, int] = {
        "embedding": shape.hidden_size,
        "transform": shape.hidden_size,
        "heads": heads,
        "key_value": shape.key_value_heads * shape.head_size,
        "qkv": 3 * heads,
        "qkv_by_head": 3 * heads,
        "ffn": shape.intermediate_size,
        "gated": 2 * shape.intermediate_size,
    }
    return sizes[axis]
