"""The base class of model families: all that the package must know about one.

Each file of `models/families` holds one `Family`. A new file is found without being listed anywhere. The model
itself is a class of `transformers`, unmodified. A family says where the class keeps its parts, what the dimensions of
its parameters mean, and what it costs. Nothing here imports torch or transformers until a model is built, so that a
mistake in a recipe is reported within a second.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from apollo_ds.models.axes import OUT, Dimensions
from apollo_ds.models.factor_names import RIGHT, whole_name
from apollo_ds.models.saved_config import SavedConfig
from apollo_ds.models.shape import ModelShape
from data_prep.masking import MASKED_FRACTION

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel


SIZES = {
    "num_layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "max_position_embeddings",
}
"""The usual key of config.json for each key of a shape."""


class Family(ABC):
    """A kind of model. The closed forms of its cost are those of a plain Transformer unless a family overrides them."""

    name: ClassVar[str]
    """Its name in a recipe: the value of `model.family`."""
    is_masked: ClassVar[bool]
    """Whether the model learns by filling in masked tokens. Otherwise it continues text."""
    is_pre_norm: ClassVar[bool]
    """Whether a block normalises what it reads (pre-LN), so that its branches are added to what it was given."""
    masked_fraction: ClassVar[float] = MASKED_FRACTION
    """The fraction of a sample's tokens that a masked model must predict."""
    is_gated: ClassVar[bool] = False
    """Whether feed-forward units are multiplied by gates. Where both are zero, neither gets a gradient."""
    first_layer_is_unlike: ClassVar[bool] = False
    """Whether the first layer lacks a part that all others have: it stays first, and is neither shared nor copied."""
    is_rms_norm: ClassVar[bool] = False
    """Whether normalisations of the hidden size keep the mean (RMSNorm). LayerNorm subtracts it."""
    normalises_sums_only: ClassVar[bool] = False
    """Whether each normalisation of the hidden size reads a plain sum of outputs of embeddings and linear layers, none
    of which has passed an activation or another normalisation. Then the mean of its units is such a sum as well."""
    shares_epsilon: ClassVar[bool] = False
    """Whether normalisations of another size, which does not grow, have the same `norm_epsilon`."""
    backbone: ClassVar[str]
    """Path of the model without its head."""
    blocks: ClassVar[str]
    """Path of the block list. Parameters are named `{blocks}.{index}.{rest}`."""
    embeddings: ClassVar[tuple[str, ...]]
    """Paths of the modules below the blocks."""
    decoder: ClassVar[str]
    """Path of the head's last matrix, a linear layer that makes logits."""
    dimensions_by_name: ClassVar[Sequence[tuple[str, Dimensions]]]
    """Patterns of parameter names and their dimensions. The first pattern that ends a name decides."""
    residual_outputs: ClassVar[str]
    """Pattern of the parameters that write a block's branch into the residual stream."""
    normalisations: ClassVar[str]
    """Pattern of the parameters that scale or shift a normalisation."""
    draws_residual_outputs_by_depth: ClassVar[bool] = False
    """Whether fresh matrices that write into the residual stream are smaller by sqrt(2L), L the full depth."""
    shape_class: ClassVar[type[ModelShape]] = ModelShape
    """The sizes that `model` of a recipe may give. A family with sizes of its own, such as the number of key-value
    heads, has a subclass, in which each of them has a default."""
    presets: ClassVar[Mapping[str, ModelShape]] = {}
    """Published sizes by name: what `model: NAME` means in a recipe."""
    model_type: ClassVar[str | None] = None
    """The family's name in config.json; None if it is `name`."""
    size_keys: ClassVar[Mapping[str, str]] = SIZES
    """The keys of config.json that are whole numbers, by the keys of a shape."""
    epsilon_key: ClassVar[tuple[str, float]] = ("layer_norm_eps", 1e-12)
    """Where config.json has `norm_epsilon`, and the class's default."""
    trained_with: ClassVar[Mapping[str, Sequence[Any]]] = {}
    """Keys of config.json that change what the class computes. Each has the values that are trained here, and first the
    one that a configuration without the key means."""
    other_names: ClassVar[Mapping[str, str]] = {}
    """Other names that files use, by the ends of the parameters' names here."""

    @abstractmethod
    def model_class(self) -> "type[PreTrainedModel]":
        """The class of `transformers`."""

    @abstractmethod
    def config(self, shape: ModelShape) -> "PretrainedConfig":
        """The class's configuration for a shape, without a padding token.

        Samples are packed without padding, and the class would give that token's embedding no gradient.
        """

    def sizes_of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a shape for a parsed config.json: the inverse of `config`.

        Dropout is how a model was trained, not what it is, so that the shape's default stays.

        Raises:
            UserError: the class would compute what no model here does, or a value is not of its kind; the message
                begins with the key.
        """
        saved = SavedConfig(config, self.name)
        for key, values in self.trained_with.items():
            saved.check(key, *values)
        return {
            "family": self.name,
            **{field: saved.whole(key) for field, key in self.size_keys.items()},
            "initializer_range": saved.number("initializer_range", 0.02),
            "norm_epsilon": saved.number(*self.epsilon_key),
            **self.own_sizes(saved),
        }

    def own_sizes(self, saved: SavedConfig) -> dict[str, Any]:
        """Return the sizes that other families lack, or that config.json holds in another form.

        Raises:
            UserError: as in `sizes_of`.
        """
        return {}

    def first_saved_row(self, name: str, config: Mapping[str, Any]) -> int:
        """Return the row of a saved parameter that is the first row of the trained parameter.

        If it is negative, the trained parameter begins with as many rows of zeros.
        """
        return 0

    def padding_before_positions(self, config: Mapping[str, Any]) -> int | None:
        """The padding token that a model with this config.json leaves out as it counts positions, if it does so."""
        return None

    def attention_types(self, shape: ModelShape) -> Sequence[str]:
        """The kind of attention at each position of the full depth; empty where all layers have the same.

        It belongs to the position, not to the layer that runs there, so that the model ends as the published one.
        """
        return ()

    def attention_windows(self, shape: ModelShape) -> Mapping[str, int | None]:
        """For each kind of attention, how many tokens to either side a token sees; None for the whole sample."""
        return {}

    def position_ids(self, input_ids: "Tensor", places: "Tensor | None" = None) -> "Tensor | None":
        """The positions (1, seq_len) of tokens (batch, seq_len); None where the class itself counts them from 0.

        From `places` of tokens in their documents, which count from 0, they are of the same shape (batch, seq_len).
        """
        return places

    def exported_config(self, shape: ModelShape, pad: int | None) -> "PretrainedConfig":
        """The configuration of an exported model, whose tokenizer pads with the token of this id, if with any."""
        config = self.config(shape)
        config.pad_token_id = pad
        return config

    def exported_weight(self, name: str, weight: "Tensor", config: "PretrainedConfig") -> "Tensor":
        """A trained parameter as a model with the exported configuration has it."""
        return weight

    @abstractmethod
    def transform(self, model: Any, hidden: "Tensor") -> "Tensor":
        """What the head does to hidden states (..., hidden_size) before `decoder`."""

    @abstractmethod
    def embedding_parameters(self, shape: ModelShape) -> int:
        """Parameters below the blocks; where the head's matrix is the token embedding's (tied), it counts here."""

    @abstractmethod
    def head_parameters(self, shape: ModelShape) -> int:
        """Parameters above the blocks, without a matrix that the embeddings share."""

    def ties_head(self, shape: ModelShape) -> bool:
        """Whether the head's matrix is the token embedding's."""
        return True

    def missing_in_first_layer(self, shape: ModelShape) -> int:
        """How many parameters fewer the first layer has than each of the others."""
        return 0

    def layer_parameters(self, shape: ModelShape) -> int:
        """Weights and biases of one layer: attention 4h^2 + 4h, feed-forward 2hf + f + h, two normalisations 4h."""
        hidden, inner = shape.hidden_size, shape.intermediate_size
        return 4 * hidden**2 + 2 * hidden * inner + 9 * hidden + inner

    def layer_flops(self, shape: ModelShape, seq_len: int) -> int:
        """Forward operations of one layer on one sample: s (8h^2 + 4hf + 4sh).

        Attention counts for all pairs of tokens, whatever a mask leaves out.
        """
        hidden, inner = shape.hidden_size, shape.intermediate_size
        return seq_len * (8 * hidden**2 + 4 * hidden * inner + 4 * seq_len * hidden)

    def feed_forward_matrices(self, shape: ModelShape) -> Sequence[tuple[int, int]]:
        """Rows and columns of each matrix of a layer's feed-forward part, in any order."""
        sizes = (shape.hidden_size, shape.intermediate_size)
        return (sizes,) * 2

    def attention_flops(self, shape: ModelShape, seq_len: int) -> int:
        """The part of `layer_flops` without weights: queries times keys, and probabilities times values: 4ssq.

        q is the width of all query heads.
        """
        return 4 * seq_len**2 * shape.num_heads * shape.head_size

    def head_flops(self, shape: ModelShape, seq_len: int) -> int:
        """Forward operations of the head on one sample: 2hV (+ 2h^2 in a masked model) a scored position."""
        transform = 2 * shape.hidden_size**2 if self.is_masked else 0
        return self.scored_positions(seq_len) * (2 * shape.hidden_size * shape.vocab_size + transform)

    def scored_positions(self, seq_len: int) -> int:
        """Positions of a sample that the loss is computed at: `masked_fraction` in a masked model, else all."""
        return max(1, round(self.masked_fraction * seq_len)) if self.is_masked else seq_len

    def dimensions(self, name: str) -> Dimensions:
        """What the dimensions of a parameter mean.

        Raises:
            KeyError: the family has no such parameter.
        """
        layer, _, own = name.rpartition(".")
        if own in ("left", "right"):  # a matrix's factors, between which the rank lies (`models.low_rank`)
            rows, columns = self.dimensions(f"{layer}.weight")
            return (rows, None) if own == "left" else (None, columns)
        for pattern, found in self.dimensions_by_name:
            if re.search(rf"\.{pattern}$", name):
                return found
        raise KeyError(f"{name}: its dimensions in family {self.name} are not known")

    def is_feed_forward_matrix(self, name: str) -> bool:
        """Whether a parameter is a matrix of a layer's feed-forward part."""
        if f"{self.blocks}." not in name or not name.endswith(".weight"):
            return False
        found = self.dimensions(name)
        return len(found) > 1 and any(d is not None and d.axis in ("ffn", "gated") for d in found)

    def is_residual_output(self, name: str) -> bool:
        """Whether a parameter writes a block's branch into the residual stream, so that zeros silence the branch.

        Of a matrix that is held as two factors, the left one does.
        """
        is_right = name.endswith(f".{RIGHT}")
        return not is_right and bool(re.search(rf"{self.residual_outputs}$", whole_name(name)))

    def is_normalisation(self, name: str) -> bool:
        """Whether a parameter scales or shifts a normalisation."""
        return bool(re.search(rf"{self.normalisations}$", name))

    def is_branch_normalisation(self, name: str) -> bool:
        """Whether a block's parameter belongs to a normalisation that its branches read; those in attention do not."""
        return self.is_pre_norm and self.is_normalisation(name) and self.dimensions(name) == (OUT,)
