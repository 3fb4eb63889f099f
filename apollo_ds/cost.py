"""The cost model: parameters and floating-point operations, exact and in closed form.

A multiply-add is two operations; element-wise work (normalisation, softmax, activations) and embedding look-ups are
not counted, as in `torch.utils.flop_counter`, which these formulas equal.
"""

from apollo_ds.model_shape import ModelShape
from data_prep.masking import MASKED_FRACTION


def scored_positions(shape: ModelShape, seq_len: int) -> int:
    """Positions of a sample that the loss is computed at: 15% of them for BERT, all for GPT."""
    return max(1, round(MASKED_FRACTION * seq_len)) if shape.is_masked else seq_len


def layer_flops(shape: ModelShape, seq_len: int) -> int:
    """Forward operations of one layer on one sample: s (8h^2 + 4hf + 4sh)."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    return seq_len * (8 * hidden**2 + 4 * hidden * inner + 4 * seq_len * hidden)


def head_flops(shape: ModelShape, seq_len: int) -> int:
    """Forward operations of the language-model head on one sample: 2hV (+ 2h^2 in BERT) a scored position."""
    transform = 2 * shape.hidden_size**2 if shape.is_masked else 0
    return scored_positions(shape, seq_len) * (2 * shape.hidden_size * shape.vocab_size + transform)


def training_flops(
    shape: ModelShape,
    depth: float,
    seq_len: int,
    samples: int,
    frozen_depth: int = 0,
    frozen_embeddings: bool = False,
) -> float:
    """Operations of a training step at one depth: the forward, and a backward of twice its cost where it goes.

    It does not go into the lowest `frozen_depth` layers. The lowest layer above them sends no gradient further down,
    which saves a post-LN layer those with respect to the input of its query, key and value. A frozen embedding
    matrix, as the head's, passes gradients on and gets none.
    """
    hidden = shape.hidden_size
    forward = depth * layer_flops(shape, seq_len) + head_flops(shape, seq_len)
    backward = 2 * (forward - frozen_depth * layer_flops(shape, seq_len))
    if frozen_depth and not shape.is_pre_norm:
        backward -= 6 * hidden**2 * seq_len
    if frozen_embeddings:
        backward -= 2 * hidden * shape.vocab_size * scored_positions(shape, seq_len)
    return samples * (forward + backward)


def layer_parameters(shape: ModelShape) -> int:
    """Weights and biases of one layer: attention 4h^2 + 4h, feed-forward 2hf + f + h, two normalisations 4h."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    return 4 * hidden**2 + 2 * hidden * inner + 9 * hidden + inner


def parameters(shape: ModelShape, unique_layers: int) -> int:
    """Parameters of the model with so many layers; the head's matrix is the embedding's (tied) and counts once."""
    hidden, vocab = shape.hidden_size, shape.vocab_size
    matrices = (vocab + shape.max_position_embeddings) * hidden
    layers = unique_layers * layer_parameters(shape)
    norm = 2 * hidden
    if shape.family == "gpt2":
        return matrices + norm + layers
    head = hidden**2 + hidden + norm + vocab
    if shape.family == "bert":
        return matrices + 2 * hidden + norm + layers + head  # two token types
    return matrices + 2 * hidden + 2 * norm + layers + head  # one token type, one more position, a final norm


def trainable_parameters(shape: ModelShape, unique_layers: int, frozen_layers: int) -> int:
    """Parameters that train where so many bottom layers, if any, are frozen together with the embeddings."""
    if not frozen_layers:
        return parameters(shape, unique_layers)
    return (unique_layers - frozen_layers) * layer_parameters(shape) + _head_parameters(shape)


def _head_parameters(shape: ModelShape) -> int:
    """What is above the blocks, without the matrix that the embeddings share."""
    hidden, final_norm = shape.hidden_size, 2 * shape.hidden_size
    if shape.family == "gpt2":
        return final_norm
    head = hidden**2 + hidden + 2 * hidden + shape.vocab_size
    return head if shape.family == "bert" else head + final_norm
