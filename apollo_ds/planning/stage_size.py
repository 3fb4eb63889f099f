"""How many parameters a stage's model has, and trains."""

from apollo_ds.models.flops import parameters, trainable_parameters
from apollo_ds.schedule.stage import Stage


def parameters_of(stage: Stage) -> int:
    """Parameters of a stage's model, whether they train or not."""
    return parameters(stage.shape, stage.unique_layers, stage.feed_forward_rank)


def trained_of(stage: Stage) -> int:
    """Parameters of it that train; of one that learns a growth operator, those of the model that this makes."""
    return trainable_parameters(stage.shape, stage.unique_layers, stage.frozen, stage.feed_forward_rank)
