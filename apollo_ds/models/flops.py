"""The cost model: parameters and floating-point operations, exact and in closed form.

A multiply-add is two operations. Element-wise work (normalisation, softmax, activations) and embedding look-ups are
not counted. `torch.utils.flop_counter` counts the same, and gives the same numbers.
"""

from apollo_ds.models.families import family_of
from apollo_ds.models.frozen import NOTHING_FROZEN, Frozen
from apollo_ds.models.shape import ModelShape


def training_flops(
    shape: ModelShape,
    depth: float,
    seq_len: int,
    samples: int,
    first_trained: int = 0,
    frozen: Frozen = NOTHING_FROZEN,
    pool: int = 1,
    rank: int | None = None,
) -> float:
    """Return the operations of a training step at one depth: the forward, and a backward of twice its cost.

    The backward stops above the lowest `first_trained` layers. So the lowest layer that trains needs no gradients of
    its input, which saves a post-LN layer those of its query, key and value projections. If each layer runs once, then
    frozen layers above it pass gradients on but get none. The backward of their matrices costs half, that of their
    attention costs as much as ever. A frozen embedding matrix that is also the head's costs half, too.

    With a `pool` above 1 the layers run on seq_len / pool tokens, and the head on all that are scored. With a `rank`
    the feed-forward matrices are held as two factors.
    """
    family, hidden, pooled_len = family_of(shape), shape.hidden_size, seq_len // pool
    layer, head = family.layer_flops(shape, pooled_len), family.head_flops(shape, seq_len)
    layer -= 2 * pooled_len * _spared(shape, rank)
    decoder = 2 * hidden * shape.vocab_size * family.scored_positions(seq_len)
    forward = depth * layer + head
    backward = 2 * (forward - first_trained * layer)
    passed = sum(number >= first_trained for number in frozen.layers)
    backward -= passed * (layer - family.attention_flops(shape, pooled_len))
    if first_trained and not family.is_pre_norm:
        backward -= 6 * hidden**2 * pooled_len
    if frozen.layers if family.ties_head(shape) else frozen.head:
        backward -= decoder
    if frozen.head:
        backward -= head - decoder
    return samples * (forward + backward)


def parameters(shape: ModelShape, unique_layers: int, rank: int | None = None) -> int:
    """Parameters of the model with so many layers. A head's matrix that is the embedding's (tied) counts once.

    With a `rank` the feed-forward matrices are held as two factors.
    """
    family = family_of(shape)
    missing = family.missing_in_first_layer(shape) if unique_layers else 0
    layers = unique_layers * layer_parameters(shape, rank) - missing
    return family.embedding_parameters(shape) + layers + family.head_parameters(shape)


def parameters_between(shape: ModelShape) -> int:
    """Parameters of the full model without its embeddings, and without the head's matrix, tied or not."""
    family = family_of(shape)
    decoder = 0 if family.ties_head(shape) else shape.hidden_size * shape.vocab_size
    return parameters(shape, shape.num_layers) - family.embedding_parameters(shape) - decoder


def layer_parameters(shape: ModelShape, rank: int | None = None) -> int:
    """Parameters of one layer; with a `rank` its feed-forward matrices are held as two factors."""
    return family_of(shape).layer_parameters(shape) - _spared(shape, rank)


def matrix_parameters(shape: ModelShape, layers: int, rank: int | None = None) -> int:
    """Return the parameters of `layers` layers that are in matrices: each token is multiplied by all of them.

    That takes two operations for each of these parameters.

    With a `rank` the feed-forward matrices are held as two factors.
    """
    family = family_of(shape)
    whole = (family.layer_flops(shape, 1) - family.attention_flops(shape, 1)) // 2
    return layers * (whole - _spared(shape, rank))


def _spared(shape: ModelShape, rank: int | None) -> int:
    """Return how many parameters a layer saves by factors of its feed-forward matrices: mn - r (m + n) for each."""
    if rank is None:
        return 0
    sizes = family_of(shape).feed_forward_matrices(shape)
    return sum(rows * columns - rank * (rows + columns) for rows, columns in sizes)


def trainable_parameters(
    shape: ModelShape, unique_layers: int, frozen: Frozen = NOTHING_FROZEN, rank: int | None = None
) -> int:
    """Parameters that train; with a `rank` as for `parameters`."""
    family, trained = family_of(shape), parameters(shape, unique_layers, rank)
    if frozen.layers:
        trained -= family.embedding_parameters(shape) + len(frozen.layers) * layer_parameters(shape, rank)
    if 0 in frozen.layers:
        trained += family.missing_in_first_layer(shape)
    return trained - (family.head_parameters(shape) if frozen.head else 0)
