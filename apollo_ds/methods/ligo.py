"""LiGO (Wang et al., ICLR 2023, arXiv 2303.00980): a linear map, which is learned."""

from typing import Literal

from apollo_ds.methods._learned_growth import LearnedGrowthMethod


class Ligo(LearnedGrowthMethod):
    """See `growth.learned.ligo`."""

    name: Literal["ligo"] = "ligo"
