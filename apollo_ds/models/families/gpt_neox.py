"""GPT-NeoX (Black et al. 2022): causal, attention and feed-forward beside each other, rotary positions, biases."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from apollo_ds.models.axes import FFN_IN, FFN_OUT, FINAL, HEADS_IN, IN, OUT, QKV_BY_HEAD_OUT
from apollo_ds.models.family import Family
from apollo_ds.models.saved_config import SavedConfig
from apollo_ds.models.shape import ModelShape, check_rotary_heads

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel

_TURNED = 0.25
"""The part of a head that rotary positions turn, in all published models."""


class GptNeoxShape(ModelShape):
    """The sizes of a GPT-NeoX."""

    kept: ClassVar[Sequence[str]] = (*ModelShape.kept, "tie_word_embeddings", "rope_theta")

    norm_epsilon: float = Field(default=1e-5, gt=0, le=1)
    """A small number that a normalisation adds to the variance. By default that of the family's class."""
    tie_word_embeddings: bool = True
    """Whether the head uses the matrix of the token embedding. Published models have a matrix of its own."""
    rope_theta: float = Field(default=10_000.0, ge=1, le=1e12)
    """Base of the rotary positions' wavelengths."""

    @model_validator(mode="after")
    def _heads_can_turn(self) -> Self:
        check_rotary_heads(self, 4)
        return self


class GptNeox(Family):
    """`GPTNeoXForCausalLM`, with parallel residuals."""

    name = "gpt_neox"
    is_masked = False
    is_pre_norm = True
    normalises_sums_only = True
    backbone = "gpt_neox"
    blocks = "gpt_neox.layers"
    embeddings = ("gpt_neox.embed_in",)
    decoder = "lm_head"
    dimensions_by_name = (
        (r"(embed_in|lm_head)\.weight", (None, OUT)),
        (r"attention\.query_key_value\.weight", (QKV_BY_HEAD_OUT, IN)),
        (r"attention\.query_key_value\.bias", (QKV_BY_HEAD_OUT,)),
        (r"attention\.dense\.weight", (OUT, HEADS_IN)),
        (r"mlp\.dense_h_to_4h\.weight", (FFN_OUT, IN)),
        (r"mlp\.dense_h_to_4h\.bias", (FFN_OUT,)),
        (r"mlp\.dense_4h_to_h\.weight", (OUT, FFN_IN)),
        (r"final_layer_norm\.(weight|bias)", (FINAL,)),
        (r"(dense|dense_4h_to_h)\.bias", (OUT,)),
        (r"(input|post_attention)_layernorm\.(weight|bias)", (OUT,)),
    )
    residual_outputs = r"\.(attention\.dense|mlp\.dense_4h_to_h)\.(weight|bias)"
    normalisations = r"(layernorm|layer_norm)\.(weight|bias)"
    shape_class = GptNeoxShape
    epsilon_key = ("layer_norm_eps", 1e-5)
    other_names: ClassVar[Mapping[str, str]] = {"lm_head.weight": "embed_out.weight"}
    trained_with: ClassVar[Mapping[str, Sequence[Any]]] = {
        "hidden_act": ("gelu",),
        "use_parallel_residual": (True,),
        "attention_bias": (True,),
    }
    presets: ClassVar[Mapping[str, ModelShape]] = {
        "pythia-160m": GptNeoxShape(
            family="gpt_neox",
            num_layers=12,
            hidden_size=768,
            num_heads=12,
            intermediate_size=3072,
            vocab_size=50304,
            max_position_embeddings=2048,
            tie_word_embeddings=False,
        ),
    }

    def model_class(self) -> "type[PreTrainedModel]":
        """`GPTNeoXForCausalLM`, imported when it is asked for."""
        from transformers import GPTNeoXForCausalLM

        return GPTNeoXForCausalLM

    def config(self, shape: ModelShape) -> "PretrainedConfig":
        """The `transformers` configuration of these sizes."""
        from transformers import GPTNeoXConfig

        assert isinstance(shape, GptNeoxShape)
        return GPTNeoXConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.hidden_size,
            num_hidden_layers=shape.num_layers,
            num_attention_heads=shape.num_heads,
            intermediate_size=shape.intermediate_size,
            max_position_embeddings=shape.max_position_embeddings,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": shape.rope_theta,
                "partial_rotary_factor": _TURNED,
            },
            tie_word_embeddings=shape.tie_word_embeddings,
            hidden_dropout=shape.dropout,
            attention_dropout=shape.dropout,
            initializer_range=shape.initializer_range,
            layer_norm_eps=shape.norm_epsilon,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )

    def own_sizes(self, saved: SavedConfig) -> dict[str, Any]:
        """Whether the head is tied, and the rotary positions' base."""
        return {
            "tie_word_embeddings": saved.flag("tie_word_embeddings", False),
            "rope_theta": saved.rotary_base("rotary_emb_base", "rotary_pct", _TURNED),
        }

    def transform(self, model: Any, hidden: "Tensor") -> "Tensor":
        """Nothing: the hidden states go to the decoder as they are."""
        return hidden

    def ties_head(self, shape: ModelShape) -> bool:
        """Whether the head uses the matrix of the token embedding."""
        assert isinstance(shape, GptNeoxShape)
        return shape.tie_word_embeddings

    def embedding_parameters(self, shape: ModelShape) -> int:
        """Tokens: V h."""
        return shape.vocab_size * shape.hidden_size

    def head_parameters(self, shape: ModelShape) -> int:
        """The final normalisation 2h, and V h where the head is not tied."""
        own = 0 if self.ties_head(shape) else shape.vocab_size * shape.hidden_size
        return 2 * shape.hidden_size + own
