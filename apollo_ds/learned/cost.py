"""What learning an operator costs, in closed form."""

from functools import lru_cache

from apollo_ds.cost import head_flops, training_flops
from apollo_ds.learned.operator import LearnedOperator


@lru_cache
def learning_flops(operator: LearnedOperator, seq_len: int, samples: int) -> float:
    """Operations of one step: the large network's training step, and making its weights once.

    Where the embeddings are not made from coefficients, neither they nor the head need gradients, nor does what the
    first layer reads, unless a normalisation of its own comes before. Each further micro-batch, and each rank, makes
    the weights again, which is not counted.
    """
    new = operator.new
    flops = operator.making_flops() + training_flops(new, operator.new_layers, seq_len, samples)
    if not operator.trains_embeddings:
        flops -= samples * head_flops(new, seq_len)
        if not new.is_pre_norm:
            flops -= samples * seq_len * 6 * new.hidden_size**2
    return flops
