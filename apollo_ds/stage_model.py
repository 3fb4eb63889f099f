"""What a stage trains, and how it is made from what the stage before trained."""

from collections.abc import Sequence
from itertools import pairwise

from apollo_ds.growth import growth_between
from apollo_ds.learned import IntoLearning, LearnedGrowthModel, OutOfLearning, operator_of
from apollo_ds.models import FAMILIES, PretrainingModel, build
from apollo_ds.stage import Stage
from apollo_ds.state import StateMap

TrainableModel = PretrainingModel | LearnedGrowthModel


def build_for(
    stage: Stage, seed: int | None, *, activation_checkpointing: bool = False, compile_blocks: bool = False
) -> TrainableModel:
    """The model that a stage trains, the same for the same seed; without one it is to be filled from a state.

    One that learns a growth operator is neither checkpointed nor compiled: its weights exist only in its forward.
    """
    if stage.learning:
        return LearnedGrowthModel(operator_of(stage.learning, stage), seed)
    model = build(stage.shape, stage.unique_layers, seed)
    if stage.frozen_layers:
        model.freeze(stage.frozen_layers)
    if stage.tied_gradients == "mean":
        model.average_tied_gradients()
    if activation_checkpointing:
        model.checkpoint_activations()
    if compile_blocks:
        model.compile_blocks()
    return model


def needs_initial_values(stage: Stage) -> bool:
    """Whether growing into a stage leaves parameters as they were initialised."""
    return stage.learning is not None or stage.growth.new_layers in ("silent", "random")


def growth_into(new: Stage, old: Stage, seed: int) -> StateMap:
    """How the training state of a stage follows from that of the one before it.

    Raises:
        UserError: the shapes differ in what cannot grow.
    """
    if new.learning:
        return IntoLearning(operator_of(new.learning, new))
    if old.learning:
        return OutOfLearning(operator_of(old.learning, old))
    return growth_between(old, new, f"model.{FAMILIES[new.shape.family].blocks}", seed)


def check_growths(stages: Sequence[Stage]) -> None:
    """See before any training that each stage can be made from the one before it.

    Raises:
        UserError: one cannot.
    """
    for old, new in pairwise(stages):
        growth_into(new, old, seed=0)
