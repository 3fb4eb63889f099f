"""BERT (Devlin et al. 2019): masked, post-LN, learned positions, token types."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from apollo_ds.models.axes import FFN_IN, FFN_OUT, HEADS_IN, HEADS_OUT, IN, OUT, TRANSFORM_FINAL, TRANSFORM_OUT
from apollo_ds.models.family import Family
from apollo_ds.models.shape import ModelShape

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel


def _preset(num_layers: int, hidden_size: int) -> ModelShape:
    return ModelShape(
        family="bert",
        num_layers=num_layers,
        hidden_size=hidden_size,
        num_heads=hidden_size // 64,
        intermediate_size=4 * hidden_size,
        vocab_size=30522,
    )


class Bert(Family):
    """`BertForMaskedLM`."""

    name = "bert"
    is_masked = True
    is_pre_norm = False
    backbone = "bert"
    blocks = "bert.encoder.layer"
    embeddings = ("bert.embeddings",)
    decoder = "cls.predictions.decoder"
    dimensions_by_name = (
        (r"embeddings\.(word|position|token_type)_embeddings\.weight", (None, OUT)),
        (r"attention\.self\.(query|key|value)\.weight", (HEADS_OUT, IN)),
        (r"attention\.self\.(query|key|value)\.bias", (HEADS_OUT,)),
        (r"attention\.output\.dense\.weight", (OUT, HEADS_IN)),
        (r"intermediate\.dense\.weight", (FFN_OUT, IN)),
        (r"intermediate\.dense\.bias", (FFN_OUT,)),
        (r"predictions\.transform\.dense\.weight", (TRANSFORM_OUT, IN)),
        (r"predictions\.transform\.dense\.bias", (TRANSFORM_OUT,)),
        (r"predictions\.transform\.LayerNorm\.(weight|bias)", (TRANSFORM_FINAL,)),
        (r"predictions\.bias", (None,)),
        (r"output\.dense\.weight", (OUT, FFN_IN)),
        (r"(dense\.bias|LayerNorm\.(weight|bias))", (OUT,)),
    )
    residual_outputs = r"\.\d+\.(attention\.)?output\.dense\.(weight|bias)"
    normalisations = r"LayerNorm\.(weight|bias)"
    other_names: ClassVar[Mapping[str, str]] = {
        "LayerNorm.weight": "LayerNorm.gamma",
        "LayerNorm.bias": "LayerNorm.beta",
    }
    trained_with: ClassVar[Mapping[str, Sequence[Any]]] = {
        "hidden_act": ("gelu",),
        "position_embedding_type": ("absolute",),
        "type_vocab_size": (2,),
        "is_decoder": (False,),
        "add_cross_attention": (False,),
        "tie_word_embeddings": (True,),
    }
    presets: ClassVar[Mapping[str, ModelShape]] = {
        "bert-small": _preset(4, 512),  # of Turc et al. 2019 (arXiv 1908.08962)
        "bert-small-12": _preset(12, 512),  # Apollo's BERT-Small, from which bert2BERT and LiGO grow BERT-base there
        "bert-base": _preset(12, 768),
        "bert-large": _preset(24, 1024),
    }

    def model_class(self) -> "type[PreTrainedModel]":
        """`BertForMaskedLM`, imported when it is asked for."""
        from transformers import BertForMaskedLM

        return BertForMaskedLM

    def config(self, shape: ModelShape) -> "PretrainedConfig":
        """The `transformers` configuration of these sizes."""
        from transformers import BertConfig

        return BertConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.hidden_size,
            num_hidden_layers=shape.num_layers,
            num_attention_heads=shape.num_heads,
            intermediate_size=shape.intermediate_size,
            max_position_embeddings=shape.max_position_embeddings,
            hidden_dropout_prob=shape.dropout,
            attention_probs_dropout_prob=shape.dropout,
            initializer_range=shape.initializer_range,
            layer_norm_eps=shape.norm_epsilon,
            pad_token_id=None,
        )

    def transform(self, model: Any, hidden: "Tensor") -> "Tensor":
        """A linear layer, GELU and a normalisation."""
        return model.cls.predictions.transform(hidden)

    def embedding_parameters(self, shape: ModelShape) -> int:
        """Tokens, positions, two token types and a normalisation: (V + P + 2) h + 2h."""
        return (shape.vocab_size + shape.max_position_embeddings + 2) * shape.hidden_size + 2 * shape.hidden_size

    def head_parameters(self, shape: ModelShape) -> int:
        """The transform h^2 + h, its normalisation 2h, and a bias a token."""
        return shape.hidden_size**2 + 3 * shape.hidden_size + shape.vocab_size
