"""Mango (Pan et al., NeurIPS 2023, arXiv 2310.10699): a model grows by a tensor-ring map, which is learned."""

from typing import Literal

from apollo_ds.methods._learned_growth import LearnedGrowthMethod


class Mango(LearnedGrowthMethod):
    """A small model trains first; the map makes the large model from it. `growth.learned.mango` has the formulas."""

    name: Literal["mango"] = "mango"
