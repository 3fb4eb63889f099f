"""GPT-2 (Radford et al. 2019): causal, pre-LN, learned positions; query, key and value are one Conv1D."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from apollo_ds.models.axes import FFN_IN, FFN_OUT, FINAL, HEADS_IN, IN, OUT, QKV_OUT
from apollo_ds.models.family import Family
from apollo_ds.models.saved_config import SavedConfig
from apollo_ds.models.shape import ModelShape

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel


class Gpt2Shape(ModelShape):
    """The sizes of a GPT-2."""

    norm_epsilon: float = Field(default=1e-5, gt=0, le=1)
    """A small number that a normalisation adds to the variance. By default that of the family's class."""


def _preset(num_layers: int, hidden_size: int) -> Gpt2Shape:
    return Gpt2Shape(
        family="gpt2",
        num_layers=num_layers,
        hidden_size=hidden_size,
        num_heads=hidden_size // 64,
        intermediate_size=4 * hidden_size,
        vocab_size=50257,
        max_position_embeddings=1024,
    )


class Gpt2(Family):
    """`GPT2LMHeadModel`."""

    name = "gpt2"
    is_masked = False
    is_pre_norm = True
    draws_residual_outputs_by_depth = True
    normalises_sums_only = True
    backbone = "transformer"
    blocks = "transformer.h"
    embeddings = ("transformer.wte", "transformer.wpe")
    decoder = "lm_head"
    dimensions_by_name = (
        (r"(wte|wpe)\.weight", (None, OUT)),
        (r"attn\.c_attn\.weight", (IN, QKV_OUT)),
        (r"attn\.c_attn\.bias", (QKV_OUT,)),
        (r"attn\.c_proj\.weight", (HEADS_IN, OUT)),
        (r"mlp\.c_fc\.weight", (IN, FFN_OUT)),
        (r"mlp\.c_fc\.bias", (FFN_OUT,)),
        (r"mlp\.c_proj\.weight", (FFN_IN, OUT)),
        (r"ln_f\.(weight|bias)", (FINAL,)),
        (r"(c_proj\.bias|ln_[12]\.(weight|bias))", (OUT,)),
    )
    residual_outputs = r"\.c_proj\.(weight|bias)"
    normalisations = r"ln_[12f]\.(weight|bias)"
    shape_class = Gpt2Shape
    size_keys: ClassVar[Mapping[str, str]] = {
        "num_layers": "n_layer",
        "hidden_size": "n_embd",
        "num_heads": "n_head",
        "vocab_size": "vocab_size",
        "max_position_embeddings": "n_positions",
    }
    epsilon_key = ("layer_norm_epsilon", 1e-5)
    trained_with: ClassVar[Mapping[str, Sequence[Any]]] = {
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
        "tie_word_embeddings": (True,),
    }
    presets: ClassVar[Mapping[str, ModelShape]] = {
        "gpt2-small-12": _preset(12, 512),  # Apollo's GPT-Small, from which bert2BERT and LiGO grow GPT-base there
        "gpt2-base": _preset(12, 768),
        "gpt2-medium": _preset(24, 1024),
        "gpt2-large": _preset(36, 1280),
    }

    def model_class(self) -> "type[PreTrainedModel]":
        """`GPT2LMHeadModel`, imported when it is asked for."""
        from transformers import GPT2LMHeadModel

        return GPT2LMHeadModel

    def config(self, shape: ModelShape) -> "PretrainedConfig":
        """The `transformers` configuration of these sizes."""
        from transformers import GPT2Config

        return GPT2Config(
            vocab_size=shape.vocab_size,
            n_embd=shape.hidden_size,
            n_layer=shape.num_layers,
            n_head=shape.num_heads,
            n_inner=shape.intermediate_size,
            n_positions=shape.max_position_embeddings,
            activation_function="gelu_pytorch_tanh",  # GPT-2's own in one kernel; "gelu_new" computes the same in eight
            bos_token_id=None,
            eos_token_id=None,
            resid_pdrop=shape.dropout,
            embd_pdrop=shape.dropout,
            attn_pdrop=shape.dropout,
            initializer_range=shape.initializer_range,
            layer_norm_epsilon=shape.norm_epsilon,
            pad_token_id=None,
        )

    def own_sizes(self, saved: SavedConfig) -> dict[str, Any]:
        """A feed-forward part that is four times as wide, where config.json does not say."""
        return {"intermediate_size": saved.whole("n_inner", 4 * saved.whole("n_embd"))}

    def transform(self, model: Any, hidden: "Tensor") -> "Tensor":
        """Nothing: the hidden states go to the decoder as they are."""
        return hidden

    def embedding_parameters(self, shape: ModelShape) -> int:
        """Tokens and positions: (V + P) h."""
        return (shape.vocab_size + shape.max_position_embeddings) * shape.hidden_size

    def head_parameters(self, shape: ModelShape) -> int:
        """The final normalisation: 2h."""
        return 2 * shape.hidden_size
