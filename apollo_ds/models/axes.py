"""What the dimensions of a parameter mean, so that one rule widens every model family.

A dimension has an axis and a side. Along `out` a unit is produced: a copy of the unit is an equal row. Along `in` a
unit is consumed: copies share what the one unit gave. `final` is the last normalisation before a tied head: the
embedding matrix consumes its output, and the matrix's copies cannot be scaled down because the input uses them too.
The units of a masked model's head transform have an axis of their own. It grows like `embedding`, but may be mapped
differently.

A family's file gives the dimensions of each of its parameters. Linear weights are (out, in), Conv1D weights (in, out).
"""

from typing import Literal, NamedTuple

Axis = Literal["embedding", "transform", "heads", "qkv", "ffn"]
Side = Literal["out", "in", "final"]


class Dimension(NamedTuple):
    """One dimension of a parameter."""

    axis: Axis
    side: Side


Dimensions = tuple[Dimension | None, ...]
"""A parameter's dimensions; None for one that does not grow (vocabulary, positions)."""

OUT, IN, FINAL = Dimension("embedding", "out"), Dimension("embedding", "in"), Dimension("embedding", "final")
TRANSFORM_OUT, TRANSFORM_FINAL = Dimension("transform", "out"), Dimension("transform", "final")
HEADS_OUT, HEADS_IN, QKV_OUT = Dimension("heads", "out"), Dimension("heads", "in"), Dimension("qkv", "out")
FFN_OUT, FFN_IN = Dimension("ffn", "out"), Dimension("ffn", "in")
