"""Llama (Touvron et al. 2023): causal, RMSNorm, rotary positions, SwiGLU, no biases, grouped heads."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, PositiveInt, model_validator

from apollo_ds.models.axes import FFN_IN, FFN_OUT, FINAL, HEADS_IN, HEADS_OUT, IN, KEY_VALUE_OUT, OUT, Dimensions
from apollo_ds.models.family import Family
from apollo_ds.models.saved_config import SavedConfig
from apollo_ds.models.shape import ModelShape, check_rotary_heads

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel


class LlamaShape(ModelShape):
    """The sizes of a Llama."""

    widths: ClassVar[Sequence[str]] = (*ModelShape.widths, "num_key_value_heads")
    kept: ClassVar[Sequence[str]] = (*ModelShape.kept, "tie_word_embeddings", "rope_theta")

    norm_epsilon: float = Field(default=1e-5, gt=0, le=1)
    """A small number that a normalisation adds to the variance. By default that of the family's class."""
    num_key_value_heads: PositiveInt = Field(default_factory=lambda sizes: sizes["num_heads"])
    """Heads of keys and values; must divide `num_heads`. By default each query head has its own."""
    tie_word_embeddings: bool = True
    """Whether the head uses the matrix of the token embedding. A matrix of its own has as many parameters again."""
    rope_theta: float = Field(default=10_000.0, ge=1, le=1e12)
    """Base of the wavelengths of rotary positions. Longer samples need a greater one."""

    @property
    def key_value_heads(self) -> int:
        """Heads of keys and values of a layer."""
        return self.num_key_value_heads

    @model_validator(mode="after")
    def _heads_can_turn_and_share(self) -> Self:
        groups = self.num_key_value_heads
        if self.num_heads % groups:
            fitting = ", ".join(str(size) for size in range(1, self.num_heads + 1) if self.num_heads % size == 0)
            raise ValueError(
                f"num_key_value_heads {groups} does not divide num_heads {self.num_heads}; use one of {fitting}"
            )
        check_rotary_heads(self, 2)
        return self


_SMOLLM2: dict[str, Any] = {
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "rope_theta": 100_000.0,
}


def _preset(**sizes: Any) -> LlamaShape:
    return LlamaShape(family="llama", **sizes)


class Llama(Family):
    """`LlamaForCausalLM`."""

    name = "llama"
    is_masked = False
    is_pre_norm = True
    is_gated = True
    is_rms_norm = True
    normalises_sums_only = True
    backbone = "model"
    blocks = "model.layers"
    embeddings = ("model.embed_tokens",)
    decoder = "lm_head"
    dimensions_by_name: ClassVar[Sequence[tuple[str, Dimensions]]] = (
        (r"(embed_tokens|lm_head)\.weight", (None, OUT)),
        (r"self_attn\.q_proj\.weight", (HEADS_OUT, IN)),
        (r"self_attn\.[kv]_proj\.weight", (KEY_VALUE_OUT, IN)),
        (r"self_attn\.o_proj\.weight", (OUT, HEADS_IN)),
        (r"mlp\.(gate|up)_proj\.weight", (FFN_OUT, IN)),
        (r"mlp\.down_proj\.weight", (OUT, FFN_IN)),
        (r"(input|post_attention)_layernorm\.weight", (OUT,)),
        (r"model\.norm\.weight", (FINAL,)),
    )
    residual_outputs = r"\.(o|down)_proj\.weight"
    normalisations = r"(layernorm|norm)\.weight"
    shape_class: ClassVar[type[LlamaShape]] = LlamaShape
    epsilon_key = ("rms_norm_eps", 1e-6)
    trained_with: ClassVar[Mapping[str, Sequence[Any]]] = {
        "hidden_act": ("silu",),
        "attention_bias": (False,),
        "mlp_bias": (False,),
    }
    presets: ClassVar[Mapping[str, ModelShape]] = {
        "smollm2-135m": _preset(
            num_layers=30, hidden_size=576, num_heads=9, num_key_value_heads=3, intermediate_size=1536, **_SMOLLM2
        ),
        "smollm2-360m": _preset(
            num_layers=32, hidden_size=960, num_heads=15, num_key_value_heads=5, intermediate_size=2560, **_SMOLLM2
        ),
        "tinyllama-1.1b": _preset(
            num_layers=22,
            hidden_size=2048,
            num_heads=32,
            num_key_value_heads=4,
            intermediate_size=5632,
            vocab_size=32000,
            max_position_embeddings=2048,
            tie_word_embeddings=False,
        ),
        "llama-3.2-1b": _preset(  # with the positions that are trained first; the published ones are scaled from these
            num_layers=16,
            hidden_size=2048,
            num_heads=32,
            num_key_value_heads=8,
            intermediate_size=8192,
            vocab_size=128256,
            max_position_embeddings=8192,
            rope_theta=500_000.0,
        ),
    }

    def model_class(self) -> "type[PreTrainedModel]":
        """`LlamaForCausalLM`, imported when it is asked for."""
        from transformers import LlamaForCausalLM

        return LlamaForCausalLM

    def config(self, shape: ModelShape) -> "PretrainedConfig":
        """The `transformers` configuration of these sizes."""
        from transformers import LlamaConfig

        return LlamaConfig(**self._settings(shape))

    def _settings(self, shape: ModelShape) -> dict[str, Any]:
        assert isinstance(shape, LlamaShape)
        return {
            "vocab_size": shape.vocab_size,
            "hidden_size": shape.hidden_size,
            "num_hidden_layers": shape.num_layers,
            "num_attention_heads": shape.num_heads,
            "num_key_value_heads": shape.num_key_value_heads,
            "head_dim": shape.head_size,
            "intermediate_size": shape.intermediate_size,
            "max_position_embeddings": shape.max_position_embeddings,
            "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
            "tie_word_embeddings": shape.tie_word_embeddings,
            "attention_dropout": shape.dropout,
            "initializer_range": shape.initializer_range,
            "rms_norm_eps": shape.norm_epsilon,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": None,
        }

    def own_sizes(self, saved: SavedConfig) -> dict[str, Any]:
        """The heads of keys and values, whether the head is tied, and the rotary positions' base."""
        heads, own = saved.whole("num_attention_heads"), self._saved_head_dim(saved)
        return {
            "num_key_value_heads": saved.whole("num_key_value_heads", heads),
            "tie_word_embeddings": saved.flag("tie_word_embeddings", False),
            "rope_theta": saved.rotary_base(),
            **own,
        }

    def _saved_head_dim(self, saved: SavedConfig) -> dict[str, int]:
        """Nothing: it follows from the other sizes."""
        hidden, heads = saved.whole("hidden_size"), saved.whole("num_attention_heads")
        if heads > 0 and saved.whole("head_dim", hidden // heads) != hidden // heads:
            raise saved.refused(
                "head_dim", saved.get("head_dim"), f"hidden_size / num_attention_heads, {hidden // heads}"
            )
        return {}

    def transform(self, model: Any, hidden: "Tensor") -> "Tensor":
        """Nothing: the hidden states go to the decoder as they are."""
        return hidden

    def ties_head(self, shape: ModelShape) -> bool:
        """Whether the head uses the matrix of the token embedding."""
        assert isinstance(shape, LlamaShape)
        return shape.tie_word_embeddings

    def embedding_parameters(self, shape: ModelShape) -> int:
        """Tokens: V h."""
        return shape.vocab_size * shape.hidden_size

    def head_parameters(self, shape: ModelShape) -> int:
        """The final normalisation h, and V h where the head is not tied."""
        own = 0 if self.ties_head(shape) else shape.vocab_size * shape.hidden_size
        return shape.hidden_size + own

    def feed_forward_matrices(self, shape: ModelShape) -> Sequence[tuple[int, int]]:
        """Units, gates, and what they write."""
        sizes = (shape.hidden_size, shape.intermediate_size)
        return (sizes,) * 3

    def layer_parameters(self, shape: ModelShape) -> int:
        """Query and output 2hq, key and value 2hk, feed-forward 3hf, two normalisations 2h.

        q is the width of all query heads, k that of all key heads.
        """
        hidden, query = shape.hidden_size, shape.num_heads * shape.head_size
        key = shape.key_value_heads * shape.head_size
        return hidden * (2 * query + 2 * key + 3 * shape.intermediate_size + 2)

    def layer_flops(self, shape: ModelShape, seq_len: int) -> int:
        """Forward operations of one layer on one sample: s (4hq + 4hk + 6hf + 4sq); see `layer_parameters`."""
        hidden, query = shape.hidden_size, shape.num_heads * shape.head_size
        key = shape.key_value_heads * shape.head_size
        matrices = hidden * (4 * query + 4 * key + 6 * shape.intermediate_size)
        return seq_len * (matrices + 4 * seq_len * query)
