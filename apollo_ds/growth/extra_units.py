"""Units of a wider residual stream that are no copies: what is left over where the old width does not divide the new.

LEMON (Wang et al., ICLR 2024, arXiv 2310.07999) widens from D to kD + m units, m < D: k copies of each old unit, and m
extra ones. Under LayerNorm each of these holds the mean of the old units, under RMSNorm zero. The mean stays, and the
variance (under RMSNorm the mean square) becomes r = kD / (kD + m) of the old one. Copies come out of a normalisation
larger by r^-1/2, which its weight takes back, and extra units come out as its bias, which is zero. All of that is exact
if the normalisation's epsilon is r times the old one too.

What reads an extra unit is free, since it reads zeros at first. It is what the tiled map gives: as much as the copies
of one old unit or another are read. So extra units get gradients from the first step on, and different ones.

A masked model's head normalises what has passed an activation. No linear layer in front of one can make the mean of
what comes out behind it. There extra units are copies, as in the tiled map, which the normalisation's weight and bias
of zero keep from the head: the mean and the variance are nearly the old ones, as far as the copied units stand for all.
"""

from math import sqrt

import torch
from torch import Tensor

from apollo_ds.models.axes import Dimension
from apollo_ds.models.family import Family


def with_extra_units(family: Family, name: str, grown: Tensor, position: int, old_size: int, extra: int) -> Tensor:
    """A parameter that grew along the dimension at `position` as if its last `extra` units were copies, put right."""
    size = grown.shape[position]
    dimension = family.dimensions(name)[position]
    copies, last = grown.split([size - extra, extra], position)
    if _is_scaled(family, name, dimension):
        return grown * sqrt((size - extra) / size)
    if family.is_normalisation(name):
        last = torch.zeros_like(last)
    elif _writes_the_stream(family, name, dimension):
        mean = copies.narrow(position, 0, old_size).mean(position, keepdim=True)
        last = torch.zeros_like(last) if family.is_rms_norm else mean.expand_as(last)
    return torch.cat([copies, last], position)


def gradient_scale(family: Family, name: str, position: int, part: float) -> float:
    """c in g_new = c g_old, beside the share, of a parameter whose units are copies to this part; 1 for all else.

    What a normalisation's weight multiplies is r^-1/2 of what it was.
    """
    return 1 / sqrt(part) if _is_scaled(family, name, family.dimensions(name)[position]) else 1.0


def _is_scaled(family: Family, name: str, dimension: Dimension | None) -> bool:
    """Whether a parameter is the weight of a normalisation of the stream."""
    is_weight = family.is_normalisation(name) and not name.endswith(".bias")
    return is_weight and dimension is not None and dimension.axis == "embedding"


def _writes_the_stream(family: Family, name: str, dimension: Dimension | None) -> bool:
    """Whether a parameter that is no normalisation's makes units of the stream; a head that is not tied reads them."""
    is_head = name.endswith(f"{family.decoder}.weight")
    return dimension is not None and dimension.axis == "embedding" and dimension.side == "out" and not is_head
