"""LiGO (Wang et al., ICLR 2023, arXiv 2303.00980): a linear map, which is learned."""

from typing import Literal

from apollo_ds.methods.learned_growth import LearnedGrowth


class Ligo(LearnedGrowth):
    """See `learned.ligo`."""

    name: Literal["ligo"] = "ligo"
