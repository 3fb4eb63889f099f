"""LiGO (Wang et al., ICLR 2023, arXiv 2303.00980): a model grows by a linear map, which is learned."""

from typing import Literal

from apollo_ds.methods._learned_growth import LearnedGrowthMethod


class Ligo(LearnedGrowthMethod):
    """A small model trains first; the map makes the large model from it. `growth.learned.ligo` has the formulas."""

    name: Literal["ligo"] = "ligo"
