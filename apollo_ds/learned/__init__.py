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

__all__ = [
    "IntoLearning",
    "LearnedGrowthModel",
    "LearnedOperator",
    "LiGO",
    "Mango",
    "OutOfLearning",
    "learning_flops",
]
