"""How many samples a rank processes at once: the recipe's number at full depth, more where a step needs less memory."""

from dataclasses import replace

from apollo_ds.config.deepspeed import precision
from apollo_ds.config.recipe import Recipe
from apollo_ds.schedule.schedule import StepPlan
from apollo_ds.schedule.stage import Stage

_LAYER_BYTES = 34
"""Bytes an element of a layer's input that its backward needs at 16 bits, its scores not kept (Korthikanti et al. 2022,
equation 2, without the term that is quadratic in the length); twice as much in fp32."""
_INPUT_BYTES = 2
"""Of them, the input itself: all that is kept of a layer whose activations are checkpointed."""


def activation_bytes(recipe: Recipe, stage: Stage, layers: int) -> float:
    """What one sample's backward through so many layers of a stage needs; embeddings and head count as one layer.

    Logits are left out: at most some thousand rows of them exist at a time, however many samples there are.
    """
    checkpointed = recipe.activation_checkpointing and stage.learned_growth is None
    bytes_a_layer = _INPUT_BYTES if checkpointed else _LAYER_BYTES
    widths = 2 if precision(recipe.deepspeed) == "fp32" else 1
    tokens = stage.pooled_len * layers * bytes_a_layer + stage.seq_len * _LAYER_BYTES
    return tokens * stage.shape.hidden_size * widths


def micro_batch_of(recipe: Recipe, stage: Stage, plan: StepPlan, world_size: int) -> int:
    """Samples a rank processes at once in a step; see `samples_at_once`.

    Raises:
        UserError: the number of ranks does not divide the global batch.
    """
    return samples_at_once(recipe, stage, plan.depth - plan.first_trained, world_size)


def samples_at_once(recipe: Recipe, stage: Stage, trained_layers: int, world_size: int) -> int:
    """Samples a rank processes at once in a step of a stage that trains so many layers.

    As many as need no more memory than `micro_batch_size` does where all layers of the recipe's model train at its
    full length. A stage that draws a depth for each micro-batch has equally many of them in every step.

    Raises:
        UserError: the number of ranks does not divide the global batch.
    """
    if stage.draw == "micro_step":
        return recipe.micro_batch(world_size)
    whole = replace(stage, shape=recipe.model, seq_len=recipe.seq_len, pool=1, learned_growth=None)
    full = activation_bytes(recipe, whole, recipe.model.num_layers)
    needed = activation_bytes(recipe, stage, trained_layers)
    return recipe.micro_batch(world_size, room=full / needed)
