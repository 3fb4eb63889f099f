"""Learned growth: an operator from a small model's weights to a large one's, whose coefficients are trained.

Learning it is a stage of the schedule like any other: `LearnedGrowthModel` trains the coefficients on the pretraining
loss while the small weights stay fixed, and the growth out of that stage makes the large weights, once and for all.
A new operator is a subclass of `LearnedOperator`.
"""

from apollo_ds.learned.cost import learning_flops
from apollo_ds.learned.growth import IntoLearning, OutOfLearning
from apollo_ds.learned.ligo import LiGO
from apollo_ds.learned.mango import Mango
from apollo_ds.learned.model import LearnedGrowthModel
from apollo_ds.learned.operator import LearnedOperator
from apollo_ds.stage import Learning, Stage

OPERATORS: dict[str, type[LearnedOperator]] = {"ligo": LiGO, "mango": Mango}


def operator_of(learning: Learning, stage: Stage) -> LearnedOperator:
    """The operator that a stage learns.

    Raises:
        UserError: the source cannot grow to the stage's model.
    """
    kind = OPERATORS[learning.operator]
    return kind(learning.source, learning.source_layers, stage.shape, stage.unique_layers)


__all__ = [
    "IntoLearning",
    "LearnedGrowthModel",
    "LearnedOperator",
    "LiGO",
    "Mango",
    "OPERATORS",
    "OutOfLearning",
    "learning_flops",
    "operator_of",
]
