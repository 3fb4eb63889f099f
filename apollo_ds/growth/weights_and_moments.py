"""One growth of the training state: weights grow by the maps of depth and width, moments by a chosen rule."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from apollo_ds.growth.counters import COHORT, WEIGHT, Counters
from apollo_ds.growth.depth_map import DepthMap
from apollo_ds.growth.width_map import WidthMap
from apollo_ds.models.depth_scale import scale_of
from apollo_ds.models.families import FAMILIES
from apollo_ds.schedule.scale_change import ScaleChange
from apollo_ds.schedule.stage import MomentRule


class StateMap(Protocol):
    """Makes each parameter of a new model, and its moments, from an old training state."""

    def sources(self, name: str, exists: set[str]) -> tuple[str, ...]:
        """Name the old parameters that a new one is made from; `exists` holds the names of all old ones."""

    def apply(self, name: str, tensor: str, old: dict[str, Tensor], counters: Counters) -> Tensor | None:
        """Make one tensor of a new parameter from the same tensor of its `sources`, which `old` holds by name.

        None leaves it as it was initialised. A result without dimensions stands for that value in each element.
        """

    def counters(self, old: Counters) -> Counters:
        """Return Adam's counters after the growth."""


@dataclass(frozen=True)
class Growth:
    """Makes every parameter of the new model from the old training state by a map of depth and one of width.

    `moments` is the rule for Adam's moments, one of
    - map: they are copied like the weights, with their age;
    - map_scaled: they are scaled like the gradients. With g_new = c g_old, m_new = c m_old and v_new = c^2 v_old.
      For width, c is the share of the unit that the element produces (`WidthMap.gradient_scale`). That is exact for
      equal copies that keep the function, and nearly exact for uneven ones, whose gradients a normalisation mixes.
      For depth, c is `DepthMap.gradient_share`. That is exact for layers that ran once beside silent new ones. Where an
      old layer ran at several positions, its copies share its gradient, and equal shares are assumed.
      A weight that `scales` multiplies by f has 1 / f of its gradient;
    - zero_new: old coordinates keep their moments; those of new ones start from zero, at age 0;
    - reset: all moments start from zero, at age 0;
    - keep_index: a parameter takes the moments of the old parameter of the same name, whatever its weight is made from,
      as the published Apollo code does. Those of names that did not exist start from zero, at age 0.

    Under every rule, the moments of extra units (`growth.extra_units`), and of parameters that were frozen in the old
    stage, start from zero, at age 0: there are no moments to take over.

    With `marks_new` the new coordinates form a cohort of their own under every rule, so that their learning rate can be
    warmed up separately. Where some coordinates start without moments, the cohort holds only these.
    """

    depth: DepthMap
    width: WidthMap | None = None
    moments: MomentRule = "map"
    marks_new: bool = False
    was_frozen: Callable[[str], bool] | None = None
    """Says by name whether an old parameter had no moments; None if all had moments."""
    scales: ScaleChange | None = None
    """The factors of weights that make up for scales that depend on the depth; None if there are no such scales."""

    def sources(self, name: str, exists: set[str]) -> tuple[str, ...]:
        """Name the old parameters that a new one is made from: its source, then the layer above, then its own name.

        The result is empty where the layer is made from nothing.
        """
        if self.depth.is_from_nothing(name):
            return ()
        source = self.depth.source(name)
        found = [source]
        above = self._above(source)
        if above in exists:
            found.append(above)
        if self.moments == "keep_index" and name in exists and name not in found:
            found.append(name)
        return tuple(found)

    def apply(self, name: str, tensor: str, old: dict[str, Tensor], counters: Counters) -> Tensor | None:
        """Make one tensor (weight, exp_avg, exp_avg_sq or cohort) of a new parameter from that of its `sources`.

        None leaves it as it was initialised. A result without dimensions stands for that value in each element.
        """
        if self.depth.is_from_nothing(name):
            return self._from_nothing(name, tensor, counters)
        if tensor == WEIGHT:
            return self._weight(name, old)
        if tensor == COHORT:
            return self._cohort(name, old, counters)
        return self._moment(name, old, power=1 if tensor == "exp_avg" else 2)

    def counters(self, old: Counters) -> Counters:
        """Return Adam's counters after the growth."""
        if self.moments == "reset":
            births: tuple[int, ...] = (0, 0) if self.marks_new else (0,)
            return replace(old, adam_step=0, births=births)
        if self._new_is_young or self.marks_new:
            birth = old.adam_step if self._new_is_young else 0
            return replace(old, births=(*old.births, birth))
        return old

    @property
    def _new_is_young(self) -> bool:
        without_moments = self.depth.new_layers != "copy" or self.was_frozen is not None or self._has_extra_units
        return self.moments in ("zero_new", "keep_index") or without_moments

    @property
    def _has_extra_units(self) -> bool:
        return self.width is not None and self.width.has_extra_units

    def _above(self, source: str) -> str | None:
        index = self.depth.layer_index(source)
        if index is None or self.width is None or not self.width.takes_new_units_from_above(source):
            return None
        return self.depth.renamed(source, index + 1)

    def _from_nothing(self, name: str, tensor: str, counters: Counters) -> Tensor | None:
        """Return a tensor of a layer that is made from nothing: its moments are zero, its cohort is the last."""
        if tensor == WEIGHT:
            return self.depth.weight_from_nothing(name)
        if tensor == COHORT:
            return torch.tensor(len(self.counters(counters).births) - 1, dtype=torch.uint8)
        return torch.zeros(())

    def _weight(self, name: str, old: dict[str, Tensor]) -> Tensor | None:
        source = self.depth.source(name)
        weight = old[source]
        if self.width is not None:
            weight = self.width.weight(source, weight, old.get(self._above(source) or ""))
        grown, factor = self.depth.weight(name, weight), self._scale(name)
        return grown if grown is None or factor == 1.0 else grown * factor

    def _scale(self, name: str) -> float:
        index = self.depth.layer_index(name)
        if self.scales is None or index is None:
            return 1.0
        return scale_of(FAMILIES[self.depth.family], name, self.scales.layers[index])

    def _moment(self, name: str, old: dict[str, Tensor], power: int) -> Tensor:
        """exp_avg (a mean of gradients, power 1) or exp_avg_sq (a mean of their squares, power 2)."""
        origin = self._origin(name, old)
        moment = self._selected(origin, old)
        if self.moments == "map_scaled":
            moment = moment * (self.depth.share(name) / self._scale(name)) ** power
            if self.width is not None:
                moment = moment * self.width.gradient_scale(origin, moment) ** power
        blank = self._blank(name, origin, moment, old)
        return moment if blank is None else torch.where(blank, 0.0, moment)

    def _cohort(self, name: str, old: dict[str, Tensor], counters: Counters) -> Tensor:
        """Return the number of each coordinate's cohort; new coordinates belong to the last."""
        origin = self._origin(name, old)
        before = self._selected(origin, old)
        if self.moments == "reset":
            before = torch.zeros_like(before)
        youngest = self._blank(name, origin, before, old) if self._new_is_young else self._is_new(name, origin, before)
        if youngest is None or not (self._new_is_young or self.marks_new):
            return before
        return torch.where(youngest, len(self.counters(counters).births) - 1, before).to(before.dtype)

    def _origin(self, name: str, old: dict[str, Tensor]) -> str:
        """Name the old parameter whose moments the new one takes."""
        return name if self.moments == "keep_index" and name in old else self.depth.source(name)

    def _selected(self, origin: str, old: dict[str, Tensor]) -> Tensor:
        if self.width is None:
            return old[origin]
        return self.width.select(origin, old[origin], old.get(self._above(origin) or ""))

    def _is_new(self, name: str, origin: str, like: Tensor) -> Tensor | None:
        """Return which coordinates did not exist before; bool, of the shape of `like`, or None if all did."""
        if self.depth.is_new(name):
            return torch.ones_like(like, dtype=torch.bool)
        return None if self.width is None else self.width.is_new(origin, like)

    def _blank(self, name: str, origin: str, like: Tensor, old: dict[str, Tensor]) -> Tensor | None:
        """Return which coordinates start without moments; bool, of the shape of `like`, or None if none do."""
        not_copied = self.depth.new_layers != "copy" and self.depth.is_new(name)
        without_origin = self.moments == "keep_index" and name not in old
        thawed = self.was_frozen is not None and self.was_frozen(origin)
        if self.moments == "reset" or not_copied or without_origin or thawed:
            return torch.ones_like(like, dtype=torch.bool)
        if self.moments == "zero_new":
            return self._is_new(name, origin, like)
        if self.width is None:
            return None
        return self.width.is_new(origin, like) if self.moments == "keep_index" else self.width.is_extra(origin, like)


def no_growth(layers: int, blocks: str, family: str) -> Growth:
    """Return a growth that changes nothing: it keeps the state of a model of `layers` layers."""
    return Growth(DepthMap(tuple(range(layers)), blocks, family))
