"""Choose the model for a budget. docs/guides/init.md explains the rules and names their sources."""

from dataclasses import dataclass

from apollo_ds.models.families import FAMILIES
from apollo_ds.models.flops import parameters, training_flops
from apollo_ds.models.shape import ModelShape

TOKENS_A_PARAMETER = 20
"""The tokens per parameter that Hoffmann et al. 2022 recommend."""
_HEAD_SIZE, _NARROW_HEAD_SIZE = 64, 32
_WIDE = 384
"""From this many units on, weights are drawn with the standard deviation of published models, and heads have their
usual size."""
_MULTIPLE = 32
"""A feed-forward width is rounded to a multiple of this."""


@dataclass(frozen=True)
class Size:
    """A model that may be chosen: its layers, its width, and the tokens of a sample."""

    num_layers: int
    hidden_size: int
    seq_len: int


SIZES = (
    Size(2, 64, 128),
    Size(3, 96, 128),
    Size(4, 128, 128),
    Size(4, 192, 128),
    Size(4, 256, 128),
    Size(6, 384, 512),
    Size(8, 512, 512),
    Size(12, 768, 2048),
    Size(16, 1024, 2048),
    Size(24, 1536, 2048),
    Size(24, 2048, 2048),
    Size(32, 2560, 2048),
)
"""The sizes, the smallest first. From 768 units on there is one layer for each 64 units, as in GPT-2 and Llama, up to
24 layers."""


def shape_of(size: Size, family: str, vocab_size: int) -> ModelShape:
    """The shape of a model of a family. Its head is tied to the embedding if the family allows both."""
    kind, hidden = FAMILIES[family], size.hidden_size
    width = 8 * hidden // 3 if kind.is_gated else 4 * hidden
    return kind.shape_class(
        family=family,
        num_layers=size.num_layers,
        hidden_size=hidden,
        num_heads=hidden // (_HEAD_SIZE if hidden >= _WIDE else _NARROW_HEAD_SIZE),
        intermediate_size=-(-width // _MULTIPLE) * _MULTIPLE,
        vocab_size=vocab_size,
        max_position_embeddings=size.seq_len,
        initializer_range=0.02 if hidden >= _WIDE else round(hidden**-0.5, 3),
    )


def token_flops(shape: ModelShape, seq_len: int) -> float:
    """The operations of a token, forward and backward, in all layers and the head."""
    return training_flops(shape, shape.num_layers, seq_len, 1) / seq_len


def choose_size(family: str, vocab_size: int, flops: float, most_tokens: float) -> Size:
    """The largest size for which both budgets allow 20 tokens a parameter. If there is none, the smallest size."""
    affordable = SIZES[0]
    for size in SIZES:
        shape = shape_of(size, family, vocab_size)
        wanted = TOKENS_A_PARAMETER * parameters(shape, shape.num_layers)
        if wanted <= most_tokens and wanted * token_flops(shape, size.seq_len) <= flops:
            affordable = size
    return affordable
