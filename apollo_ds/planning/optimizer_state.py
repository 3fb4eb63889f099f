"""Compute the size of an optimizer's state."""

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.optimizers import Muon
from apollo_ds.models.flops import matrix_parameters
from apollo_ds.planning.stage_size import trained_of
from apollo_ds.schedule.stage import Stage

_FP32_BYTES = 4


def momentum_only(recipe: Recipe, stage: Stage) -> int:
    """The number of parameters with only one moment: the matrices that Muon trains. AdamW trains learned growths."""
    if not isinstance(recipe.optimizer, Muon) or stage.learned_growth:
        return 0
    return matrix_parameters(stage.shape, stage.unique_layers - len(stage.frozen.layers), stage.feed_forward_rank)


def moment_bytes(recipe: Recipe, stage: Stage) -> int:
    """The bytes of all moments in a stage, in fp32: 8 a parameter with AdamW, 4 a parameter of a matrix with Muon."""
    return _FP32_BYTES * (2 * trained_of(stage) - momentum_only(recipe, stage))
