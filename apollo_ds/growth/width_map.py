"""Wider layers: says which old unit each new unit copies, along each named axis.

Net2Net (Chen et al. 2016), function-preserving initialisation and advanced knowledge initialisation (bert2BERT, Chen
et al. 2022), tiling (CompoundGrow, Gu et al. 2021), block-diagonal doubling (Shen et al. 2022) and uneven shares
(LEMON, Wang et al. 2024) differ only in these maps. Averaged units (LEMON too) are made in `growth.extra_units`.
"""

from collections import Counter
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from apollo_ds.growth import extra_units
from apollo_ds.models.axes import INNER, Axis, Dimension
from apollo_ds.models.families import FAMILIES
from apollo_ds.rng import Stream, random_bits, uniform


@dataclass(frozen=True)
class AxisMap:
    """New unit j of an axis copies the old unit `index[j]`; the first `old_size` units copy themselves.

    A consumer of the old unit reads its copy j with the weight `shares[j]`. The shares of a unit's copies add up to 1:
    two equal copies have 1/2 each. Without `uneven_shares` they are equal. Copies with equal shares get equal gradients
    for ever; uneven shares let them become different.

    The last `extra` units are no copies, but the weights that read them are copied by `index` like all others;
    `growth.extra_units` says what they hold.
    """

    index: tuple[int, ...]
    old_size: int
    uneven_shares: tuple[float, ...] | None = None
    extra: int = 0

    @classmethod
    def tiled(cls, old_size: int, new_size: int) -> "AxisMap":
        """Repeat the old units in order: 0 1 2 0 1. Each has as many copies if the old size divides the new."""
        return cls(tuple(j % old_size for j in range(new_size)), old_size)

    @classmethod
    def uneven(cls, old_size: int, new_size: int, seed: int) -> "AxisMap":
        """Tiled, with random shares between 1/3 and 3 times each other."""
        tiled = cls.tiled(old_size, new_size)
        raw = 0.5 + uniform(seed, Stream.GROWTH, np.arange(new_size))
        totals = np.bincount(np.array(tiled.index), raw, minlength=old_size)
        return cls(tiled.index, old_size, tuple((raw / totals[list(tiled.index)]).tolist()))

    @classmethod
    def averaged(cls, old_size: int, new_size: int) -> "AxisMap":
        """Repeat the old units as often as all of them fit; the units that are left over are extra units."""
        return cls(cls.tiled(old_size, new_size).index, old_size, extra=new_size % old_size)

    @classmethod
    def drawn(cls, old_size: int, new_size: int, seed: int) -> "AxisMap":
        """Each new unit copies a random old one (Net2Net)."""
        new = random_bits(seed, Stream.GROWTH, np.arange(old_size, new_size)) % np.uint64(old_size)
        return cls((*range(old_size), *(int(j) for j in new)), old_size)

    def of_groups(self, size: int) -> "AxisMap":
        """Return the map of single elements, where each unit is a group of `size` elements, such as a head."""
        index = tuple(unit * size + i for unit in self.index for i in range(size))
        shares = self.uneven_shares and tuple(share for share in self.uneven_shares for _ in range(size))
        return AxisMap(index, self.old_size * size, shares)

    def repeated(self, times: int) -> "AxisMap":
        """Return the map of `times` such axes end to end, as in a fused query, key and value, or units and gates."""
        index = tuple(part * self.old_size + unit for part in range(times) for unit in self.index)
        return AxisMap(index, self.old_size * times, self.uneven_shares and self.uneven_shares * times)

    @property
    def copies(self) -> tuple[int, ...]:
        """The old unit of each new one that is a copy: all but the extra ones."""
        return self.index[: len(self.index) - self.extra]

    @property
    def shares(self) -> Tensor:
        """The factor of the weights that read each new unit: 1/2 for each of two equal copies; fp32, (new size,)."""
        if self.uneven_shares is not None:
            return torch.tensor(self.uneven_shares)
        counts = torch.bincount(torch.tensor(self.copies), minlength=self.old_size)
        return 1 / counts[torch.tensor(self.index)].float()

    @property
    def is_uniform(self) -> bool:
        """Whether all old units have equally many copies. Only then does a normalisation give the same result."""
        return len(set(Counter(self.copies).values())) == 1

    def occurrence(self) -> Tensor:
        """Number the copies of each old unit, from 0: the index 0 1 0 gives 0 0 1; int64, (new size,)."""
        seen: Counter[int] = Counter()
        result = []
        for unit in self.index:
            result.append(seen[unit])
            seen[unit] += 1
        return torch.tensor(result)

    def is_new(self) -> Tensor:
        """Which new units are copies of an earlier one, or extra; bool, (new size,)."""
        return self.occurrence() > 0

    def is_extra(self) -> Tensor:
        """Which new units are extra; bool, (new size,)."""
        return torch.arange(len(self.index)) >= len(self.copies)


@dataclass(frozen=True)
class WidthMap:
    """Maps of the axes that grow.

    With `advanced`, new heads and FFN units come from the layer above. With `diagonal`, the k-th copies of a matrix's
    outputs read the k-th copies of its inputs only.
    """

    family: str
    axes: dict[Axis, AxisMap]
    advanced: bool = False
    diagonal: bool = False

    @property
    def is_exact(self) -> bool:
        """Whether the wider model computes the same function, up to rounding.

        With extra units this also needs the epsilon that `growth.extra_units` gives.
        """
        embedding, family = self.axes.get("embedding"), FAMILIES[self.family]
        if self.has_extra_units and (not family.normalises_sums_only or family.shares_epsilon):
            return False
        return not self.advanced and (embedding is None or embedding.is_uniform)

    @property
    def has_extra_units(self) -> bool:
        """Whether some new units are no copies."""
        return any(axis.extra for axis in self.axes.values())

    def takes_new_units_from_above(self, name: str) -> bool:
        """Whether a parameter's new units come from the layer above."""
        growing = [d for d in self._growing(name) if d is not None]
        return self.advanced and any(d.axis in INNER and d.side == "out" for d in growing)

    def select(self, name: str, old: Tensor, above: Tensor | None = None) -> Tensor:
        """Copy the old elements into the new shape, without scaling them.

        `above` is the same parameter of the layer above, from which new output units come where it is given.
        """
        grown = self._selected(name, old)
        if above is None:
            return grown
        return torch.where(self._new_units(name, grown, sides=("out",)), self._selected(name, above), grown)

    def weight(self, name: str, old: Tensor, above: Tensor | None = None) -> Tensor:
        """Return the new weight: the weights that read the copies of a unit are its old weights, times their shares."""
        grown = self.select(name, old, above)
        growing = {position: d for position, d in enumerate(self._growing(name)) if d is not None}
        if self.diagonal and len(growing) == 2:
            copies = [_along(self.axes[d.axis].occurrence(), position, grown) for position, d in growing.items()]
            return torch.where(copies[0] == copies[1], grown, 0.0)
        for position, dimension in growing.items():
            if dimension.side != "out":
                grown = grown * _along(self.axes[dimension.axis].shares, position, grown)
        for position, dimension in growing.items():
            axis = self.axes[dimension.axis]
            if axis.extra:
                grown = extra_units.with_extra_units(
                    FAMILIES[self.family], name, grown, position, axis.old_size, axis.extra
                )
        return grown

    def gradient_scale(self, name: str, new: Tensor) -> Tensor:
        """Return c in g_new = c g_old for each element, in the shape of `new`: the share of the unit that it produces.

        With extra units, the weights of normalisations have a further factor, which is exact. Under RMSNorm c is exact
        for all other parameters, too. LayerNorm subtracts the mean of the gradients of all units from each, and the
        extra units change that mean. So under LayerNorm the gradients of the embeddings and of the blocks' outputs are
        off by one number, the same for all units. It is small if extra units are read like the mean of the others.
        """
        scale = torch.ones_like(new)
        for position, dimension in enumerate(self._growing(name)):
            if dimension is not None and dimension.side == "out":
                scale = scale * _along(self.axes[dimension.axis].shares, position, new)
            if dimension is not None and self.axes[dimension.axis].extra:
                axis = self.axes[dimension.axis]
                part = len(axis.copies) / len(axis.index)
                scale = scale * extra_units.gradient_scale(FAMILIES[self.family], name, position, part)
        return scale

    def is_new(self, name: str, new: Tensor) -> Tensor:
        """Which elements did not exist before; bool, of the shape of `new`."""
        return self._new_units(name, new, sides=("out", "in", "final"))

    def is_extra(self, name: str, new: Tensor) -> Tensor | None:
        """Return which elements make or read an extra unit; bool, of the shape of `new`. None if no elements do."""
        found = [
            _along(self.axes[d.axis].is_extra(), position, new)
            for position, d in enumerate(self._growing(name))
            if d is not None and self.axes[d.axis].extra
        ]
        return reduce(torch.logical_or, found).expand_as(new) if found else None

    def _growing(self, name: str) -> tuple[Dimension | None, ...]:
        return tuple(
            d if d is not None and d.axis in self.axes else None for d in FAMILIES[self.family].dimensions(name)
        )

    def _selected(self, name: str, old: Tensor) -> Tensor:
        for position, dimension in enumerate(self._growing(name)):
            if dimension is not None:
                index = torch.tensor(self.axes[dimension.axis].index, device=old.device)
                old = old.index_select(position, index)
        return old

    def _new_units(self, name: str, new: Tensor, sides: tuple[str, ...]) -> Tensor:
        result = torch.zeros_like(new, dtype=torch.bool)
        for position, dimension in enumerate(self._growing(name)):
            if dimension is not None and dimension.side in sides:
                result |= _along(self.axes[dimension.axis].is_new(), position, new)
        return result


def _along(vector: Tensor, position: int, like: Tensor) -> Tensor:
    """Reshape a vector so that it lies along the dimension `position` of `like` and broadcasts with it."""
    shape = [1] * like.dim()
    shape[position] = -1
    return vector.to(like.device).view(shape)
