"""ModernBERT (Warner et al. 2024): masked, pre-LN, rotary positions, GeGLU, every third layer sees the whole sample."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from apollo_ds.models.axes import FFN_IN, GATED_OUT, HEADS_IN, IN, OUT, QKV_OUT, TRANSFORM_FINAL, TRANSFORM_OUT
from apollo_ds.models.family import Family
from apollo_ds.models.saved_config import ROTARY_BASE, SavedConfig
from apollo_ds.models.shape import ModelShape, check_rotary_heads

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel

_GLOBAL: Literal["full_attention"] = "full_attention"
_LOCAL: Literal["sliding_attention"] = "sliding_attention"
_GLOBAL_BASE = 160_000.0
_EVERY = 3


class ModernBertShape(ModelShape):
    """The sizes of a ModernBERT."""

    kept: ClassVar[Sequence[str]] = (
        *(*ModelShape.kept, "local_attention", "global_attention_every"),
        *("global_rope_theta", "local_rope_theta"),
    )

    norm_epsilon: float = Field(default=1e-5, gt=0, le=1)
    """A small number that a normalisation adds to the variance. By default that of the family's class."""
    local_attention: int = Field(default=128, ge=2, le=10_000_000, multiple_of=2)
    """How many other tokens a token of a local layer sees: half of them to the left, half to the right. An even
    number."""
    global_attention_every: PositiveInt = _EVERY
    """How often a layer sees the whole sample: the first does, and then every so many."""
    global_rope_theta: float = Field(default=_GLOBAL_BASE, ge=1, le=1e12)
    """Base of the rotary positions' wavelengths in these layers."""
    local_rope_theta: float = Field(default=10_000.0, ge=1, le=1e12)
    """Base of the rotary positions' wavelengths in local layers."""

    @model_validator(mode="after")
    def _heads_can_turn(self) -> Self:
        check_rotary_heads(self, 2)
        return self


def _preset(num_layers: int, hidden_size: int, intermediate_size: int) -> ModernBertShape:
    return ModernBertShape(
        family="modernbert",
        num_layers=num_layers,
        hidden_size=hidden_size,
        num_heads=hidden_size // 64,
        intermediate_size=intermediate_size,
        vocab_size=50368,
        max_position_embeddings=8192,
    )


def _types(layers: int, every: int) -> tuple[str, ...]:
    return tuple(_LOCAL if position % every else _GLOBAL for position in range(layers))


def _saved_every(saved: SavedConfig) -> int:
    """Return n where every n-th layer sees the whole sample. A list that is too short to tell means the usual n.

    Raises:
        UserError: the layers that do are not the first and every so many after it.
    """
    kinds, layers = saved.get("layer_types"), saved.whole("num_hidden_layers")
    if kinds is None:
        return saved.whole("global_attn_every_n_layers", _EVERY)
    is_list = isinstance(kinds, list) and len(kinds) == layers
    second = kinds.index(_GLOBAL, 1) if is_list and _GLOBAL in kinds[1:] else layers
    fitting = (every for every in (_EVERY, second) if is_list and _types(layers, every) == tuple(kinds))
    found = next(fitting, None)
    if found is None:
        raise saved.refused("layer_types", kinds, f"{_GLOBAL} in the first layer and every so many after it")
    return found


class ModernBert(Family):
    """`ModernBertForMaskedLM`. Its first layer reads the embeddings' normalisation, and has none of its own before
    its attention.
    """

    name = "modernbert"
    is_masked = True
    is_pre_norm = True
    draws_residual_outputs_by_depth = True
    masked_fraction = 0.3
    is_gated = True
    first_layer_is_unlike = True
    backbone = "model"
    blocks = "model.layers"
    embeddings = ("model.embeddings",)
    decoder = "decoder"
    dimensions_by_name = (
        (r"tok_embeddings\.weight", (None, OUT)),
        (r"attn\.Wqkv\.weight", (QKV_OUT, IN)),
        (r"attn\.Wo\.weight", (OUT, HEADS_IN)),
        (r"mlp\.Wi\.weight", (GATED_OUT, IN)),
        (r"mlp\.Wo\.weight", (OUT, FFN_IN)),
        (r"head\.dense\.weight", (TRANSFORM_OUT, IN)),
        (r"head\.norm\.weight", (TRANSFORM_FINAL,)),
        (r"decoder\.bias", (None,)),
        (r"(embeddings\.norm|attn_norm|mlp_norm|final_norm)\.weight", (OUT,)),
    )
    residual_outputs = r"\.(attn|mlp)\.Wo\.weight"
    normalisations = r"norm\.weight"
    shape_class = ModernBertShape
    epsilon_key = ("norm_eps", 1e-5)
    trained_with: ClassVar[Mapping[str, Sequence[Any]]] = {
        "hidden_activation": ("gelu",),
        "norm_bias": (False,),
        "attention_bias": (False,),
        "mlp_bias": (False,),
        "decoder_bias": (True,),
        "tie_word_embeddings": (True,),
    }
    presets: ClassVar[Mapping[str, ModelShape]] = {
        "modernbert-base": _preset(22, 768, 1152),
        "modernbert-large": _preset(28, 1024, 2624),
    }

    def model_class(self) -> "type[PreTrainedModel]":
        """`ModernBertForMaskedLM`, imported when it is asked for."""
        from transformers import ModernBertForMaskedLM

        return ModernBertForMaskedLM

    def config(self, shape: ModelShape) -> "PretrainedConfig":
        """The `transformers` configuration of these sizes."""
        from transformers import ModernBertConfig

        assert isinstance(shape, ModernBertShape)
        return ModernBertConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.hidden_size,
            num_hidden_layers=shape.num_layers,
            num_attention_heads=shape.num_heads,
            intermediate_size=shape.intermediate_size,
            max_position_embeddings=shape.max_position_embeddings,
            layer_types=list(self.attention_types(shape)),
            local_attention=shape.local_attention,
            rope_parameters={
                _GLOBAL: {"rope_type": "default", "rope_theta": shape.global_rope_theta},
                _LOCAL: {"rope_type": "default", "rope_theta": shape.local_rope_theta},
            },
            embedding_dropout=shape.dropout,
            attention_dropout=shape.dropout,
            mlp_dropout=shape.dropout,
            initializer_range=shape.initializer_range,
            norm_eps=shape.norm_epsilon,
            pad_token_id=None,
            bos_token_id=None,
            eos_token_id=None,
            cls_token_id=None,
            sep_token_id=None,
        )

    def own_sizes(self, saved: SavedConfig) -> dict[str, Any]:
        """Which layers see how much of a sample, and the rotary positions' bases."""
        if saved.get("rope_scaling"):
            raise saved.refused("rope_scaling", saved.get("rope_scaling"), "rotary positions that are not scaled")
        given = saved.rotary_of("rope_parameters", saved.get("rope_parameters", {}))
        base = {
            kind: saved.rotary_of("rope_parameters", given.get(kind) or {}).get("rope_theta", saved.number(*older))
            for kind, older in {
                _GLOBAL: ("global_rope_theta", _GLOBAL_BASE),
                _LOCAL: ("local_rope_theta", ROTARY_BASE),
            }.items()
        }
        return {
            "local_attention": saved.whole("local_attention", 128),
            "global_attention_every": _saved_every(saved),
            "global_rope_theta": base[_GLOBAL],
            "local_rope_theta": base[_LOCAL],
        }

    def attention_types(self, shape: ModelShape) -> Sequence[str]:
        """What each layer sees: the whole sample, or its neighbours."""
        assert isinstance(shape, ModernBertShape)
        return _types(shape.num_layers, shape.global_attention_every)

    def attention_windows(self, shape: ModelShape) -> Mapping[str, int | None]:
        """How many tokens to each side a type of attention sees; None for all."""
        assert isinstance(shape, ModernBertShape)
        return {_GLOBAL: None, _LOCAL: shape.local_attention // 2}

    def transform(self, model: Any, hidden: "Tensor") -> "Tensor":
        """A linear layer, GELU and a normalisation."""
        return model.head(hidden)

    def embedding_parameters(self, shape: ModelShape) -> int:
        """Tokens and a normalisation: (V + 1) h."""
        return (shape.vocab_size + 1) * shape.hidden_size

    def head_parameters(self, shape: ModelShape) -> int:
        """The final normalisation h, the transform h^2, its normalisation h, and a bias a token."""
        return shape.hidden_size**2 + 2 * shape.hidden_size + shape.vocab_size

    def missing_in_first_layer(self, shape: ModelShape) -> int:
        """The normalisation before its attention."""
        return shape.hidden_size

    def feed_forward_matrices(self, shape: ModelShape) -> Sequence[tuple[int, int]]:
        """Units and gates in one, and what they write."""
        hidden, inner = shape.hidden_size, shape.intermediate_size
        return (hidden, 2 * inner), (hidden, inner)

    def layer_parameters(self, shape: ModelShape) -> int:
        """Attention 4h^2, feed-forward 3hf, two normalisations 2h."""
        return shape.hidden_size * (4 * shape.hidden_size + 3 * shape.intermediate_size + 2)

    def layer_flops(self, shape: ModelShape, seq_len: int) -> int:
        """Forward operations of one layer on one sample: s (8h^2 + 6hf + 4sh), also where a token sees few others."""
        hidden, inner = shape.hidden_size, shape.intermediate_size
        return seq_len * (8 * hidden**2 + 6 * hidden * inner + 4 * seq_len * hidden)
