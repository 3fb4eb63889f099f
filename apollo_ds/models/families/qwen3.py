"""Qwen3 (Yang et al. 2025): a Llama whose queries and keys are normalised, with heads of a size of their own."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, PositiveInt, model_validator

from apollo_ds.models.families.llama import Llama, LlamaShape
from apollo_ds.models.saved_config import SavedConfig
from apollo_ds.models.shape import ModelShape

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


_WHOLE = "full_attention"


class Qwen3Shape(LlamaShape):
    """The sizes of a Qwen3."""

    kept: ClassVar[Sequence[str]] = (*LlamaShape.kept, "head_dim")

    norm_epsilon: float = Field(default=1e-6, gt=0, le=1)
    """A small number that a normalisation adds to the variance. By default that of the family's class."""
    rope_theta: float = Field(default=1_000_000.0, ge=1, le=1e12)
    """Base of the rotary positions' wavelengths; longer samples want a greater one."""
    head_dim: PositiveInt = Field(default_factory=lambda sizes: sizes["hidden_size"] // sizes["num_heads"])
    """Units of a head; by default `hidden_size` divided by `num_heads`."""

    @property
    def head_size(self) -> int:
        """Units of a head."""
        return self.head_dim

    @model_validator(mode="after")
    def _heads_divide_hidden_size(self) -> Self:
        """Check nothing: the heads of a Qwen3 need not divide `hidden_size`, since they have a size of their own."""
        return self


class Qwen3(Llama):
    """`Qwen3ForCausalLM`."""

    name = "qwen3"
    shares_epsilon = True
    dimensions_by_name = ((r"self_attn\.[qk]_norm\.weight", (None,)), *Llama.dimensions_by_name)
    normalisations = r"(layernorm|norm|[qk]_norm)\.weight"
    shape_class: ClassVar[type[LlamaShape]] = Qwen3Shape
    trained_with: ClassVar[Mapping[str, Sequence[Any]]] = {
        "hidden_act": ("silu",),
        "attention_bias": (False,),
        "use_sliding_window": (False,),
    }
    presets: ClassVar[Mapping[str, ModelShape]] = {
        "qwen3-0.6b": Qwen3Shape(
            family="qwen3",
            num_layers=28,
            hidden_size=1024,
            num_heads=16,
            num_key_value_heads=8,
            head_dim=128,
            intermediate_size=3072,
            vocab_size=151936,
            max_position_embeddings=40960,
        ),
    }

    def model_class(self) -> "type[PreTrainedModel]":
        """`Qwen3ForCausalLM`, imported when it is asked for."""
        from transformers import Qwen3ForCausalLM

        return Qwen3ForCausalLM

    def config(self, shape: ModelShape) -> "PretrainedConfig":
        """The `transformers` configuration of these sizes."""
        from transformers import Qwen3Config

        return Qwen3Config(**self._settings(shape))

    def own_sizes(self, saved: SavedConfig) -> dict[str, Any]:
        """A Llama's, of a model all of whose layers see the whole sample."""
        kinds = saved.get("layer_types", [])
        if not isinstance(kinds, list) or any(kind != _WHOLE for kind in kinds):
            raise saved.refused("layer_types", kinds, f"{_WHOLE} in all layers")
        return super().own_sizes(saved)

    def _saved_head_dim(self, saved: SavedConfig) -> dict[str, int]:
        return {"head_dim": saved.whole("head_dim", 128)}

    def layer_parameters(self, shape: ModelShape) -> int:
        """A Llama's, and the normalisations of queries and keys: two head sizes."""
        return super().layer_parameters(shape) + 2 * shape.head_size
