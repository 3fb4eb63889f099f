"""The cost model: parameters and floating-point operations, exact and in closed form.

A multiply-add is two operations; element-wise work (normalisation, softmax, activations) and embedding look-ups are
not counted, as in `torch.utils.flop_counter`, which these formulas equal.
"""

from apollo_ds.model_shape import ModelShape
from data_prep.masking import MASKED_FRACTION


def scored_positions(shape: ModelShape, seq_len: int) -> int:
    """Positions of a sample that the loss is computed at: 15% of them for BERT, all for GPT."""
    return max(1, round(MASKED_FRACTION * seq_len)) if shape.family == "bert" else seq_len


def layer_flops(shape: ModelShape, seq_len: int) -> int:
    """Forward operations of one layer on one sample: s (8h^2 + 4hf + 4sh)."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    return seq_len * (8 * hidden**2 + 4 * hidden * inner + 4 * seq_len * hidden)


def head_flops(shape: ModelShape, seq_len: int) -> int:
    """Forward operations of the language-model head on one sample: 2hV (+ 2h^2 in BERT) a scored position."""
    transform = 2 * shape.hidden_size**2 if shape.family == "bert" else 0
    return scored_positions(shape, seq_len) * (2 * shape.hidden_size * shape.vocab_size + transform)


def training_flops(shape: ModelShape, depth: float, seq_len: int, samples: int) -> float:
    """Operations of a training step at one depth: the forward, and a backward of twice its cost."""
    return 3 * samples * (depth * layer_flops(shape, seq_len) + head_flops(shape, seq_len))


def layer_parameters(shape: ModelShape) -> int:
    """Weights and biases of one layer: attention 4h^2 + 4h, feed-forward 2hf + f + h, two normalisations 4h."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    return 4 * hidden**2 + 2 * hidden * inner + 9 * hidden + inner


def parameters(shape: ModelShape, unique_layers: int) -> int:
    """Parameters of the model with so many layers; the head's matrix is the embedding's (tied) and counts once."""
    hidden, vocab = shape.hidden_size, shape.vocab_size
    embeddings = (vocab + shape.max_position_embeddings) * hidden
    if shape.family == "bert":
        token_types_and_norm = 2 * hidden + 2 * hidden
        head = hidden**2 + hidden + 2 * hidden + vocab
        return embeddings + token_types_and_norm + head + unique_layers * layer_parameters(shape)
    final_norm = 2 * hidden
    return embeddings + final_norm + unique_layers * layer_parameters(shape)
