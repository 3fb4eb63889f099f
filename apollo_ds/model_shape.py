"""The sizes of a Transformer, and the presets that name the usual ones."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from apollo_ds.errors import UserError


class ModelShape(BaseModel):
    """What decides a model's parameters and cost. `num_layers` is the depth it is being trained for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: Literal["bert", "roberta_prelayernorm", "gpt2"]
    num_layers: PositiveInt
    hidden_size: PositiveInt
    num_heads: PositiveInt
    intermediate_size: PositiveInt
    vocab_size: PositiveInt
    max_position_embeddings: PositiveInt = 512
    dropout: float = Field(default=0.0, ge=0, lt=1)
    initializer_range: float = Field(default=0.02, gt=0)
    """Standard deviation of fresh matrices. BERT's and GPT-2's own suits their widths; a narrow BERT may need more,
    about hidden_size ** -0.5, or attend to nothing in particular for thousands of steps."""

    @property
    def is_masked(self) -> bool:
        """Whether the model learns by filling in masked tokens, not by continuing text."""
        return self.family != "gpt2"

    @property
    def is_pre_norm(self) -> bool:
        """Whether a block normalises what it reads (pre-LN), so that its branches are added to what it was given."""
        return self.family != "bert"

    @model_validator(mode="after")
    def _heads_divide_hidden_size(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} does not divide hidden_size {self.hidden_size}")
        return self


def why_not_grown(old: ModelShape, new: ModelShape) -> str | None:
    """What keeps one model from growing into another, in words; None if it can."""
    for key in ("family", "vocab_size", "max_position_embeddings"):
        before, after = getattr(old, key), getattr(new, key)
        if before != after:
            return f"the source's {key} is {before}, and growth keeps it; set model.{key}={before}, not {after}"
    head = old.hidden_size // old.num_heads
    if new.hidden_size // new.num_heads != head:
        return f"heads keep their size {head} when a model grows; give num_heads in proportion"
    for key in ("hidden_size", "intermediate_size"):
        before, after = getattr(old, key), getattr(new, key)
        if after < before:
            return f"{key} must not become narrower, from {before} to {after}"
    if new.num_layers < old.num_layers:
        return f"{old.num_layers} layers cannot grow to {new.num_layers}"
    return None


def _bert(num_layers: int, hidden_size: int) -> ModelShape:
    return ModelShape(
        family="bert",
        num_layers=num_layers,
        hidden_size=hidden_size,
        num_heads=hidden_size // 64,
        intermediate_size=4 * hidden_size,
        vocab_size=30522,
    )


def _gpt2(num_layers: int, hidden_size: int) -> ModelShape:
    return ModelShape(
        family="gpt2",
        num_layers=num_layers,
        hidden_size=hidden_size,
        num_heads=hidden_size // 64,
        intermediate_size=4 * hidden_size,
        vocab_size=50257,
        max_position_embeddings=1024,
    )


PRESETS: dict[str, ModelShape] = {
    "bert-small": _bert(4, 512),
    "bert-base": _bert(12, 768),
    "bert-large": _bert(24, 1024),
    "gpt2-base": _gpt2(12, 768),
    "gpt2-medium": _gpt2(24, 1024),
    "gpt2-large": _gpt2(36, 1280),
}


def preset(name: str) -> ModelShape:
    """The shape of a named model.

    Raises:
        UserError: there is no such preset.
    """
    if name not in PRESETS:
        raise UserError(f"model: there is no preset {name!r}; choose one of {', '.join(PRESETS)}, or give its sizes")
    return PRESETS[name]
