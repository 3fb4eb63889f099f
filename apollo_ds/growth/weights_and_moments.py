"""One growth of the training state: weights by the maps of depth and width, moments by the rule chosen."""

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
    """How each parameter of a new model, with its moments, follows from an old training state."""

    def sources(self, name: str, exists: set[str]) -> tuple[str, ...]:
        """The old parameters that a new one is made from."""

    def apply(self, name: str, tensor: str, old: dict[str, Tensor], counters: Counters) -> Tensor | None:
        """One tensor of a new parameter from that of each of its `sources`; None to leave it as it was initialised.

        A tensor without dimensions stands for one with that value in each element.
        """

    def counters(self, old: Counters) -> Counters:
        """What Adam's counters become."""


@dataclass(frozen=True)
class Growth:
    """How every parameter of the new model follows from the old training state.

    The moments follow one of
    - map: copied like the weights, with their age;
    - map_scaled: scaled as the gradients will be. With g_new = c g_old, m_new = c m_old and v_new = c^2 v_old.
      For width c is the share of each unit produced (`WidthMap.gradient_scale`): exact for equal copies that keep the
      function, and nearly so for uneven ones, whose gradients a normalisation mixes.
      For depth c is `DepthMap.gradient_share`: exact for layers that ran once beside silent new ones. The copies of a
      layer that ran at the positions of all of them share its gradient; they are taken to have equal shares.
      A weight that `scales` multiplies by f has 1 / f of its gradient;
    - zero_new: old coordinates keep theirs; new ones start from zero, at age 0;
    - reset: all start from zero, at age 0;
    - keep_index: by the parameter's own name, whatever its weight has become, as the published Apollo code does;
      names that did not exist start from zero, at age 0.

    Units that are no copies (`growth.extra_units`) have no moments to take over: they start from zero, at age 0,
    whatever the rule.

    What was frozen in the old stage has no moments: it starts from zero, at age 0, whatever the rule.

    With `marks_new` the new coordinates form a cohort of their own also where the rule alone would not need it, so
    that their learning rate can be warmed up separately. Where some start without moments, these alone form it.
    """

    depth: DepthMap
    width: WidthMap | None = None
    moments: MomentRule = "map"
    marks_new: bool = False
    was_frozen: Callable[[str], bool] | None = None
    """Whether an old parameter had no moments; None where all had."""
    scales: ScaleChange | None = None
    """What weights are multiplied by where the scales that know the depth change; None where none do."""

    def sources(self, name: str, exists: set[str]) -> tuple[str, ...]:
        """The old parameters that a new one is made from: its source, then the layer above, then its own name.

        There are none where its layer is made from nothing.
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
        """One tensor (weight, exp_avg, exp_avg_sq or cohort) of a new parameter from that of each of its `sources`.

        A result of None is left as the model was initialised. One without dimensions stands for all elements.
        """
        if self.depth.is_from_nothing(name):
            return self._from_nothing(name, tensor, counters)
        if tensor == WEIGHT:
            return self._weight(name, old)
        if tensor == COHORT:
            return self._cohort(name, old, counters)
        return self._moment(name, old, power=1 if tensor == "exp_avg" else 2)

    def counters(self, old: Counters) -> Counters:
        """What Adam's counters become."""
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
        """A tensor of a layer that no old one is the source of: without moments, and of the last cohort."""
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
        """The number of each coordinate's cohort; new ones form the last."""
        origin = self._origin(name, old)
        before = self._selected(origin, old)
        if self.moments == "reset":
            before = torch.zeros_like(before)
        youngest = self._blank(name, origin, before, old) if self._new_is_young else self._is_new(name, origin, before)
        if youngest is None or not (self._new_is_young or self.marks_new):
            return before
        return torch.where(youngest, len(self.counters(counters).births) - 1, before).to(before.dtype)

    def _origin(self, name: str, old: dict[str, Tensor]) -> str:
        """The old parameter whose moments the new one takes."""
        return name if self.moments == "keep_index" and name in old else self.depth.source(name)

    def _selected(self, origin: str, old: dict[str, Tensor]) -> Tensor:
        if self.width is None:
            return old[origin]
        return self.width.select(origin, old[origin], old.get(self._above(origin) or ""))

    def _is_new(self, name: str, origin: str, like: Tensor) -> Tensor | None:
        """Which coordinates did not exist before; bool, of the shape of `like`, None for none."""
        if self.depth.is_new(name):
            return torch.ones_like(like, dtype=torch.bool)
        return None if self.width is None else self.width.is_new(origin, like)

    def _blank(self, name: str, origin: str, like: Tensor, old: dict[str, Tensor]) -> Tensor | None:
        """Which coordinates start without moments; bool, of the shape of `like`, None for none."""
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
    """The state as it is."""
    return Growth(DepthMap(tuple(range(layers)), blocks, family))
