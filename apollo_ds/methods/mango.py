"""Mango (Pan et al., NeurIPS 2023, arXiv 2310.10699): a tensor-ring map, which is learned."""

from typing import Literal

from apollo_ds.methods._learned_growth import LearnedGrowthMethod


class Mango(LearnedGrowthMethod):
    """See `growth.learned.mango`."""

    name: Literal["mango"] = "mango"
