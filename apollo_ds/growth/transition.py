"""Makes the map from the training state of one stage to that of the next stage."""

from apollo_ds.growth.depth_and_width import growth_between
from apollo_ds.growth.learned import operator_of
from apollo_ds.growth.learned.transitions import IntoLearning, OutOfLearning
from apollo_ds.growth.weights_and_moments import StateMap
from apollo_ds.models.families import family_of
from apollo_ds.schedule.stage import FRESH, Stage


def needs_initial_values(stage: Stage) -> bool:
    """Whether growing into a stage leaves parameters as they were initialised."""
    return stage.learned_growth is not None or stage.growth.new_layers in FRESH


def growth_into(new: Stage, old: Stage, seed: int) -> StateMap:
    """Return the map from the training state of stage `old` to that of the stage `new` that follows it.

    Raises:
        UserError: the shapes differ in something that cannot grow.
    """
    if new.learned_growth:
        return IntoLearning(operator_of(new.learned_growth, new))
    if old.learned_growth:
        return OutOfLearning(operator_of(old.learned_growth, old))
    return growth_between(old, new, f"model.{family_of(new.shape).blocks}", seed)
