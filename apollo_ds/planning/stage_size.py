"""Count the parameters of a stage's model, and those that train."""

from apollo_ds.models.flops import parameters, trainable_parameters
from apollo_ds.schedule.stage import Stage


def parameters_of(stage: Stage) -> int:
    """The number of parameters of a stage's model, whether they train or not."""
    return parameters(stage.shape, stage.unique_layers, stage.feed_forward_rank)


def trained_of(stage: Stage) -> int:
    """The number of parameters that train. If the stage learns a growth operator: those of the model that it makes."""
    return trainable_parameters(stage.shape, stage.unique_layers, stage.frozen, stage.feed_forward_rank)
