"""Builds the model that a stage trains."""

from apollo_ds.growth.learned import operator_of
from apollo_ds.growth.learned.model import LearnedGrowthModel
from apollo_ds.models.pretraining import PretrainingModel, skeleton
from apollo_ds.schedule.stage import Stage

TrainableModel = PretrainingModel | LearnedGrowthModel


def build_for(
    stage: Stage, *, rises: bool = False, activation_checkpointing: bool = False, compile_blocks: bool = False
) -> TrainableModel:
    """Build the model that a stage trains, without memory for its parameters: an engine gives them weights.

    `rises` says whether branches rise in the stage (`Schedule.rises`).

    A model that learns a growth operator ignores activation checkpointing and compilation, since its weights exist only
    during the forward pass.
    """
    if stage.learned_growth:
        return LearnedGrowthModel(operator_of(stage.learned_growth, stage))
    model = skeleton(stage.shape, stage.unique_layers)
    if stage.feed_forward_rank is not None:
        model.factorise_feed_forward(stage.feed_forward_rank)
    model.freeze(stage.frozen)
    model.pool_tokens(stage.pool)
    if rises:
        model.scale_branches()
    if stage.tied_gradients == "mean":
        model.average_tied_gradients()
    if activation_checkpointing:
        model.checkpoint_activations()
    if compile_blocks:
        model.compile_blocks()
    return model
