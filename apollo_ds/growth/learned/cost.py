"""Computes the cost of learning an operator, in closed form."""

from functools import lru_cache

from apollo_ds.growth.learned.operator import LearnedOperator
from apollo_ds.models.families import family_of
from apollo_ds.models.flops import training_flops


@lru_cache
def learning_flops(operator: LearnedOperator, seq_len: int, samples: int) -> float:
    """Return the operations of one step: the large network's training step, and making its weights once.

    If the embeddings are not made from coefficients, they and the head need no gradients. Then the input of the first
    layer needs none either, except in pre-LN models, where a normalisation comes first. Each further micro-batch and
    each rank makes the weights again, which is not counted.
    """
    new, family = operator.new, family_of(operator.new)
    flops = operator.making_flops() + training_flops(new, operator.new_layers, seq_len, samples)
    if not operator.trains_embeddings:
        flops -= samples * family.head_flops(new, seq_len)
        if not family.is_pre_norm:
            flops -= samples * seq_len * 6 * new.hidden_size**2
    return flops
