"""The cost model: parameters and floating-point operations, exact and in closed form.

A multiply-add is two operations. Element-wise work (normalisation, softmax, activations) and embedding look-ups are
not counted. `torch.utils.flop_counter` counts the same, and gives the same numbers.
"""

from apollo_ds.models.families import family_of
from apollo_ds.models.shape import ModelShape


def training_flops(
    shape: ModelShape,
    depth: float,
    seq_len: int,
    samples: int,
    frozen_depth: int = 0,
    frozen_embeddings: bool = False,
) -> float:
    """Operations of a training step at one depth: the forward, and a backward of twice its cost where it goes.

    The backward stops above the lowest `frozen_depth` layers. So the lowest layer that trains needs no gradients of its
    input, which saves a post-LN layer those of its query, key and value projections. A frozen embedding matrix that is
    also the head's passes gradients on but gets none itself.
    """
    family, hidden = family_of(shape), shape.hidden_size
    layer = family.layer_flops(shape, seq_len)
    forward = depth * layer + family.head_flops(shape, seq_len)
    backward = 2 * (forward - frozen_depth * layer)
    if frozen_depth and not family.is_pre_norm:
        backward -= 6 * hidden**2 * seq_len
    if frozen_embeddings and family.ties_head(shape):
        backward -= 2 * hidden * shape.vocab_size * family.scored_positions(seq_len)
    return samples * (forward + backward)


def parameters(shape: ModelShape, unique_layers: int) -> int:
    """Parameters of the model with so many layers. A head's matrix that is the embedding's (tied) counts once."""
    family = family_of(shape)
    layers = unique_layers * family.layer_parameters(shape) - family.missing_in_first_layer(shape)
    return family.embedding_parameters(shape) + layers + family.head_parameters(shape)


def trainable_parameters(shape: ModelShape, unique_layers: int, frozen_layers: int) -> int:
    """Parameters that train where so many bottom layers, if any, are frozen together with the embeddings."""
    if not frozen_layers:
        return parameters(shape, unique_layers)
    family = family_of(shape)
    return (unique_layers - frozen_layers) * family.layer_parameters(shape) + family.head_parameters(shape)
