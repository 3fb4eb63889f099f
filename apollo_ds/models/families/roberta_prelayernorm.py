"""RoBERTa with pre-LN (Ott et al. 2019, fairseq): masked, learned positions.

The class leaves padding out when it counts positions, and counts from the row after the padding token's id. Training
knows of no padding and counts from row 1, whatever the tokens are. An export moves the rows to where the class looks.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from apollo_ds.models.axes import FFN_IN, FFN_OUT, HEADS_IN, HEADS_OUT, IN, OUT, TRANSFORM_FINAL, TRANSFORM_OUT
from apollo_ds.models.family import Family
from apollo_ds.models.saved_config import SavedConfig
from apollo_ds.models.shape import ModelShape

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel


_NO_TOKEN = -1
"""The padding id of a tokenizer without one: no token is taken for padding, and positions count from row 0."""


class RobertaPreLayerNorm(Family):
    """`RobertaPreLayerNormForMaskedLM`."""

    name = "roberta_prelayernorm"
    is_masked = True
    is_pre_norm = True
    backbone = "roberta_prelayernorm"
    blocks = "roberta_prelayernorm.encoder.layer"
    embeddings = ("roberta_prelayernorm.embeddings",)
    decoder = "lm_head.decoder"
    dimensions_by_name = (
        (r"embeddings\.(word|position|token_type)_embeddings\.weight", (None, OUT)),
        (r"attention\.self\.(query|key|value)\.weight", (HEADS_OUT, IN)),
        (r"attention\.self\.(query|key|value)\.bias", (HEADS_OUT,)),
        (r"attention\.output\.dense\.weight", (OUT, HEADS_IN)),
        (r"intermediate\.dense\.weight", (FFN_OUT, IN)),
        (r"intermediate\.dense\.bias", (FFN_OUT,)),
        (r"lm_head\.dense\.weight", (TRANSFORM_OUT, IN)),
        (r"lm_head\.dense\.bias", (TRANSFORM_OUT,)),
        (r"lm_head\.layer_norm\.(weight|bias)", (TRANSFORM_FINAL,)),
        (r"lm_head\.bias", (None,)),
        (r"output\.dense\.weight", (OUT, FFN_IN)),
        (r"(dense\.bias|LayerNorm\.(weight|bias))", (OUT,)),
    )
    residual_outputs = r"\.\d+\.(attention\.)?output\.dense\.(weight|bias)"
    normalisations = r"(LayerNorm|layer_norm)\.(weight|bias)"
    model_type = "roberta-prelayernorm"
    other_names: ClassVar[Mapping[str, str]] = {
        "LayerNorm.weight": "LayerNorm.gamma",
        "LayerNorm.bias": "LayerNorm.beta",
    }
    trained_with: ClassVar[Mapping[str, Sequence[Any]]] = {
        "hidden_act": ("gelu",),
        "position_embedding_type": ("absolute",),
        "is_decoder": (False,),
        "add_cross_attention": (False,),
        "tie_word_embeddings": (True,),
    }

    def model_class(self) -> "type[PreTrainedModel]":
        """`RobertaPreLayerNormForMaskedLM`, imported when it is asked for."""
        from transformers import RobertaPreLayerNormForMaskedLM

        return RobertaPreLayerNormForMaskedLM

    def config(self, shape: ModelShape) -> "PretrainedConfig":
        """The `transformers` configuration of these sizes."""
        from transformers import RobertaPreLayerNormConfig

        return RobertaPreLayerNormConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.hidden_size,
            num_hidden_layers=shape.num_layers,
            num_attention_heads=shape.num_heads,
            intermediate_size=shape.intermediate_size,
            max_position_embeddings=shape.max_position_embeddings + 1,  # row 0 is not used
            pad_token_id=None,
            type_vocab_size=1,
            hidden_dropout_prob=shape.dropout,
            attention_probs_dropout_prob=shape.dropout,
            initializer_range=shape.initializer_range,
            layer_norm_eps=shape.norm_epsilon,
        )

    def position_ids(self, input_ids: "Tensor", places: "Tensor | None" = None) -> "Tensor | None":
        """Return positions that count from 1."""
        import torch

        if places is not None:
            return places + 1
        return torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device).unsqueeze(0)

    def exported_config(self, shape: ModelShape, pad: int | None) -> "PretrainedConfig":
        """Return a configuration with further rows of positions, one for each id up to the padding token's."""
        config = super().exported_config(shape, _NO_TOKEN if pad is None else pad)
        config.max_position_embeddings = shape.max_position_embeddings + config.pad_token_id + 1
        return config

    def exported_weight(self, name: str, weight: "Tensor", config: "PretrainedConfig") -> "Tensor":
        """Put rows of zeros before the trained positions, as many as the configuration has room for."""
        from torch.nn.functional import pad

        if not name.endswith("position_embeddings.weight"):
            return weight
        return pad(weight[1:], (0, 0, config.pad_token_id + 1, 0))

    def own_sizes(self, saved: SavedConfig) -> dict[str, Any]:
        """The positions without a row for each id up to the padding token's."""
        types = saved.whole("type_vocab_size", 2)
        if types != 1:
            raise saved.refused("type_vocab_size", types, "1")
        return {"max_position_embeddings": saved.whole("max_position_embeddings") - saved.whole("pad_token_id", 1) - 1}

    def first_saved_row(self, name: str, config: Mapping[str, Any]) -> int:
        """Return the padding token's row. The class uses no row before it; it is row 0 of training, which is unused."""
        is_moved = name.endswith("position_embeddings.weight")
        return self.padding_before_positions(config) if is_moved else 0

    def padding_before_positions(self, config: Mapping[str, Any]) -> int:
        """All positions are counted from its id."""
        return SavedConfig(config, self.name).whole("pad_token_id", 1)

    def transform(self, model: Any, hidden: "Tensor") -> "Tensor":
        """A linear layer, GELU and a normalisation."""
        from torch.nn.functional import gelu

        return model.lm_head.layer_norm(gelu(model.lm_head.dense(hidden)))

    def embedding_parameters(self, shape: ModelShape) -> int:
        """Tokens, positions and one more, one token type, and a normalisation: (V + P + 2) h + 2h."""
        return (shape.vocab_size + shape.max_position_embeddings + 2) * shape.hidden_size + 2 * shape.hidden_size

    def head_parameters(self, shape: ModelShape) -> int:
        """A final normalisation 2h, the transform h^2 + h, its normalisation 2h, and a bias a token."""
        return shape.hidden_size**2 + 5 * shape.hidden_size + shape.vocab_size
