"""Compute how many samples a rank processes at once: the recipe's number at full depth, more if memory allows it."""

from dataclasses import replace

from apollo_ds.config.deepspeed import precision
from apollo_ds.config.recipe import Recipe
from apollo_ds.schedule.schedule import StepPlan
from apollo_ds.schedule.stage import Stage

_LAYER_BYTES = 34
"""The bytes that a layer's backward pass needs for each element of its input at 16 bits, if scores are not kept
(Korthikanti et al. 2022, equation 2, without the term that is quadratic in the length). In fp32 it is twice as much."""
_INPUT_BYTES = 2
"""The part of these bytes for the input itself. A layer with checkpointed activations keeps only this."""


def activation_bytes(recipe: Recipe, stage: Stage, layers: int) -> float:
    """The bytes for one sample's backward pass through `layers` layers of a stage. Embeddings and head count as one.

    Logits do not count: at most a few thousand rows of them exist at a time, however many samples there are.
    """
    checkpointed = recipe.activation_checkpointing and stage.learned_growth is None
    bytes_a_layer = _INPUT_BYTES if checkpointed else _LAYER_BYTES
    widths = 2 if precision(recipe.deepspeed) == "fp32" else 1
    tokens = stage.pooled_len * layers * bytes_a_layer + stage.seq_len * _LAYER_BYTES
    return tokens * stage.shape.hidden_size * widths


def micro_batch_of(recipe: Recipe, stage: Stage, plan: StepPlan, world_size: int) -> int:
    """How many samples a rank processes at once in a step. `samples_at_once` explains the rule.

    Raises:
        UserError: the number of ranks does not divide the global batch.
    """
    return samples_at_once(recipe, stage, plan.depth - plan.first_trained, world_size)


def samples_at_once(recipe: Recipe, stage: Stage, trained_layers: int, world_size: int) -> int:
    """How many samples a rank processes at once in a step that trains `trained_layers` layers of a stage.

    They need no more memory than `micro_batch_size` samples need when all layers of the recipe's model train at full
    length. A stage that draws a depth for each micro-batch has the same number of micro-batches in every step.

    Raises:
        UserError: the number of ranks does not divide the global batch.
    """
    if stage.draw == "micro_step":
        return recipe.micro_batch(world_size)
    whole = replace(stage, shape=recipe.model, seq_len=recipe.seq_len, pool=1, learned_growth=None)
    full = activation_bytes(recipe, whole, recipe.model.num_layers)
    needed = activation_bytes(recipe, stage, trained_layers)
    return recipe.micro_batch(world_size, room=full / needed)
