"""The sizes of a Transformer. The files in `models/families` turn them into models."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from apollo_ds.checked import Checked
from data_prep.counted import counted


class ModelShape(Checked):
    """The sizes that decide a model's parameters and cost. `num_layers` is the depth at the end of the run."""

    was: ClassVar[Mapping[str, Any]] = {}
    """Values of keys that an older version did not record, where they differ from today's defaults."""
    widths: ClassVar[Sequence[str]] = ("hidden_size", "num_heads")
    """The keys that become smaller together in a narrower model; `intermediate_size` may have a factor of its own."""
    kept: ClassVar[Sequence[str]] = ("vocab_size", "max_position_embeddings")
    """The keys that growth cannot change."""

    family: str
    """The kind of model: the name of a file in `models/families`."""
    num_layers: int = Field(ge=1, le=10_000)
    """Layers at the end of the run."""
    hidden_size: int = Field(ge=1, le=1_000_000)
    """Width of the residual stream, in units."""
    num_heads: int = Field(ge=1, le=100_000)
    """Attention heads of a layer; must divide `hidden_size`."""
    intermediate_size: int = Field(ge=1, le=10_000_000)
    """Width of the feed-forward part, in units. It is usually four times `hidden_size`, or 8/3 of it in families with
    gates."""
    vocab_size: int = Field(ge=1, le=1_000_000_000)
    """Rows of the token embedding. At least as many as the tokenizer has tokens."""
    max_position_embeddings: int = Field(default=512, ge=1, le=10_000_000)
    """The most tokens that a sample may have. Where positions are learned, these are the rows of their embedding."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """The probability that a value is set to zero in training. Most families drop values after the embeddings, in
    attention and after each branch; `llama` and `qwen3` only weights of attention."""
    initializer_range: float = Field(default=0.02, gt=0, le=10)
    """Standard deviation of fresh matrices. The default is BERT's and GPT-2's own, for a hidden size of 768 or more. A
    narrow BERT may need about hidden_size ** -0.5 (0.09 at 128), or its attention learns nothing for thousands of
    steps."""

    norm_epsilon: float = Field(default=1e-12, gt=0, le=1)
    """A small number that a normalisation adds to the variance. By default that of the family's class."""
    residual_scale: Literal["none", "depth_sqrt", "complete_p"] = "none"
    """What the output of each branch, attention or feed-forward, is multiplied by before it is added to the stream:
    1, 1 / sqrt(2L), or CompleteP's (L / base_layers) ** -complete_p_alpha, L the layers that a step runs. Fresh weights
    that a class makes smaller by the depth, as GPT-2's does, are then as large as the others."""
    complete_p_alpha: float = Field(default=1.0, ge=0.5, le=1)
    """The exponent of CompleteP. Below 1, the learning rate of the blocks is also multiplied by (L / base_layers) **
    (complete_p_alpha - 1)."""
    base_layers: int = Field(default=2, ge=1, le=10_000)
    """The number of layers for which the learning rate was chosen. With so many, CompleteP changes nothing."""
    layernorm_scale: bool = False
    """Whether the input of the branches of layer l is multiplied by 1 / sqrt(l), counted from 1. For pre-LN
    families."""

    @property
    def head_size(self) -> int:
        """Units of an attention head."""
        return self.hidden_size // self.num_heads

    @property
    def key_value_heads(self) -> int:
        """Heads of keys and of values; each serves as many query heads as the others."""
        return self.num_heads

    @property
    def query_heads_a_group(self) -> int:
        """Query heads that read the same keys and values."""
        return self.num_heads // self.key_value_heads

    @model_validator(mode="after")
    def _scales_have_an_effect(self) -> Self:
        for key in ("complete_p_alpha", "base_layers"):
            if self.residual_scale != "complete_p" and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} has no effect without residual_scale: complete_p; set that, or remove it")
        return self

    @model_validator(mode="after")
    def _heads_divide_hidden_size(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"num_heads {self.num_heads} does not divide hidden_size {self.hidden_size}; use a number of heads "
                "that does, or another width"
            )
        return self


def check_rotary_heads(shape: ModelShape, multiple: int) -> None:
    """Check that rotary positions fit the size of a model's heads.

    Raises:
        ValueError: the head size is no multiple of `multiple`.
    """
    if shape.head_size % multiple:
        raise ValueError(
            f"num_heads {shape.num_heads} makes heads of {shape.head_size} units, and rotary positions need a multiple "
            f"of {multiple}; use another number of heads, or a head_dim where the family has it"
        )


def why_not_grown(old: ModelShape, new: ModelShape) -> str | None:
    """Return in words why one model cannot grow into another; None if it can."""
    for key in ("family", *new.kept):
        before, after = getattr(old, key), getattr(new, key)
        if before != after:
            return f"the source's {key} is {before}, and growth keeps it; set model.{key}={before}, not {after}"
    if new.head_size != old.head_size:
        return f"heads keep their size {old.head_size} when a model grows; give num_heads in proportion"
    group = old.query_heads_a_group
    if new.query_heads_a_group != group:
        fix = f"set model.num_key_value_heads={new.num_heads // group}" if new.num_heads % group == 0 else "give others"
        return f"{group} query heads share each head of keys and values, and keep doing so; {fix}"
    for key in (*new.widths, "intermediate_size"):
        before, after = getattr(old, key), getattr(new, key)
        if after < before:
            return f"{key} must not become narrower, from {before} to {after}"
    if new.num_layers < old.num_layers:
        return f"{counted(old.num_layers, 'layer')} cannot grow to {new.num_layers}"
    return None
