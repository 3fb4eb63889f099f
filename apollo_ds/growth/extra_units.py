"""Extra units: units of a wider residual stream that are no copies. They are left if the old width does not divide it.

LEMON (Wang et al., ICLR 2024, arXiv 2310.07999) widens from D to kD + m units with m < D: k copies of each old unit,
and m extra units. From 100 to 250 units, k is 2 and m is 50. An extra unit holds the mean of the old units under
LayerNorm, and zero under RMSNorm. So the mean stays, and the variance (under RMSNorm the mean square) becomes r times
the old one, with r = kD / (kD + m). A normalisation makes the copies larger by r^-1/2, so its weight is multiplied by
r^1/2. It gives its bias for the extra units, which is set to zero. All of that is exact if the epsilon of the
normalisation is r times the old one, too.

The weights that read an extra unit can have any values, since they read zeros at first. They are as in the tiled map:
copies of the weights that read an old unit. So extra units get gradients from the first step on, and different ones.

The head of a masked model normalises the output of an activation. A linear layer in front of the activation cannot make
the mean of the units behind it. So here the extra units are copies, as in the tiled map. The head does not see them,
since the weight and bias of the normalisation are zero for them. They change the mean and the variance a little, since
they are copies of some units and not of all.
"""

from math import sqrt

import torch
from torch import Tensor

from apollo_ds.models.axes import Dimension
from apollo_ds.models.family import Family


def with_extra_units(family: Family, name: str, grown: Tensor, position: int, old_size: int, extra: int) -> Tensor:
    """Return a grown parameter with the right values for its extra units and, in a normalisation, for its copies.

    `grown` has grown along the dimension at `position` as if its last `extra` units were copies.
    """
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
    """Return a further factor c of the gradient, g_new = c g_old, beside the shares of the copies.

    `part` is r, the fraction of the new units that are copies. The weight of a normalisation has c = r^-1/2, since the
    numbers that it multiplies grow by that. All other parameters have c = 1.
    """
    return 1 / sqrt(part) if _is_scaled(family, name, family.dimensions(name)[position]) else 1.0


def _is_scaled(family: Family, name: str, dimension: Dimension | None) -> bool:
    """Whether a parameter is the weight of a normalisation of the stream."""
    is_weight = family.is_normalisation(name) and not name.endswith(".bias")
    return is_weight and dimension is not None and dimension.axis == "embedding"


def _writes_the_stream(family: Family, name: str, dimension: Dimension | None) -> bool:
    """Whether a parameter (other than a normalisation's) writes units of the stream; an untied head only reads them."""
    is_head = name.endswith(f"{family.decoder}.weight")
    return dimension is not None and dimension.axis == "embedding" and dimension.side == "out" and not is_head
