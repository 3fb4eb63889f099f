"""One growth of the training state: weights by the maps of depth and width, moments by the rule chosen."""

from dataclasses import dataclass

import torch
from torch import Tensor

from apollo_ds.growth.depth import DepthMap
from apollo_ds.growth.width import WidthMap
from apollo_ds.schedule import MomentRule
from apollo_ds.state import COHORT, MOMENTS, WEIGHT, Counters

Gathered = dict[str, dict[str, Tensor]]
"""Old parameter name -> weight, exp_avg, exp_avg_sq (and cohort, where the state has several)."""


@dataclass(frozen=True)
class Growth:
    """How every parameter of the new model follows from the old training state.

    The moments follow one of
    - map: copied like the weights, with their age;
    - map_scaled: as the gradients will be scaled, so that they are what Adam would have had. With g_new = c g_old,
      m_new = c m_old and v_new = c^2 v_old; c is 1/k for the k copies of a layer, taken to have had like gradients,
      and 1/copies of each unit produced for width;
    - zero_new: old coordinates keep theirs; new ones start from zero, at age 0;
    - reset: all start from zero, at age 0;
    - keep_index: by the parameter's own name, whatever its weight has become, as the published Apollo code does;
      names that did not exist start from zero, at age 0.

    With `marks_new` the new coordinates form a cohort of their own also where the rule alone would not need it, so
    that their learning rate can be warmed up separately.
    """

    depth: DepthMap
    width: WidthMap | None = None
    moments: MomentRule = "map"
    marks_new: bool = False

    def sources(self, name: str, exists: set[str]) -> tuple[str, ...]:
        """The old parameters that a new one is made from: its source, then the layer above, then its own name."""
        source = self.depth.source(name)
        found = [source]
        above = self._above(source)
        if above in exists:
            found.append(above)
        if self.moments == "keep_index" and name in exists and name not in found:
            found.append(name)
        return tuple(found)

    def apply(self, name: str, old: Gathered, counters: Counters) -> dict[str, Tensor | None]:
        """The new parameter's weight, moments and cohorts; a weight of None is left as it was initialised."""
        source = self.depth.source(name)
        weight = old[source][WEIGHT]
        if self.width is not None:
            weight = self.width.weight(source, weight, self._from_above(source, old, WEIGHT))
        grown: dict[str, Tensor | None] = {WEIGHT: self.depth.weight(name, weight)}
        new = self._is_new(name, source, weight)
        blank = self._blank(name, new, old)
        for key in MOMENTS:
            grown[key] = self._moment(key, name, source, old, blank)
        if len(self.counters(counters).births) > 1:
            grown[COHORT] = self._cohorts(name, source, old, counters, blank if self._new_is_young else new)
        return grown

    def counters(self, old: Counters) -> Counters:
        """What Adam's counters become."""
        if self.moments == "reset":
            births: tuple[int, ...] = (0, 0) if self.marks_new else (0,)
            return Counters(adam_step=0, births=births, loss_scaler=old.loss_scaler)
        if self._new_is_young or self.marks_new:
            birth = old.adam_step if self._new_is_young else 0
            return Counters(old.adam_step, (*old.births, birth), old.loss_scaler)
        return old

    @property
    def is_exact(self) -> bool:
        """Whether the map of widths keeps the function; the maps of layers are exact or not by their own rules."""
        return self.width is None or self.width.is_exact

    @property
    def _new_is_young(self) -> bool:
        return self.moments in ("zero_new", "keep_index") or self.depth.new_layers != "copy"

    def _above(self, source: str) -> str | None:
        index = self.depth.layer_index(source)
        if index is None or self.width is None or not self.width.takes_new_units_from_above(source):
            return None
        return self.depth.renamed(source, index + 1)

    def _from_above(self, source: str, old: Gathered, key: str) -> Tensor | None:
        above = self._above(source)
        return old[above][key] if above in old else None

    def _is_new(self, name: str, source: str, like: Tensor) -> Tensor:
        """Which coordinates did not exist before; bool, of the new shape."""
        if self.depth.is_new(name):
            return torch.ones_like(like, dtype=torch.bool)
        return torch.zeros_like(like, dtype=torch.bool) if self.width is None else self.width.is_new(source, like)

    def _blank(self, name: str, new: Tensor, old: Gathered) -> Tensor:
        """Which coordinates start without moments; bool, of the new shape."""
        if self.moments == "reset":
            return torch.ones_like(new)
        if self.depth.new_layers != "copy" and self.depth.is_new(name):
            return torch.ones_like(new)
        if self.moments == "zero_new":
            return new
        if self.moments == "keep_index":
            if name not in old:
                return torch.ones_like(new)
            return torch.zeros_like(new) if self.width is None else self.width.is_new(name, new.float())
        return torch.zeros_like(new)

    def _moment(self, key: str, name: str, source: str, old: Gathered, blank: Tensor) -> Tensor:
        origin = name if self.moments == "keep_index" and name in old else source
        moment = old[origin][key]
        if self.width is not None:
            above = self._from_above(source, old, key) if origin == source else None
            moment = self.width.select(origin, moment, above)
        if self.moments == "map_scaled":
            scale = torch.full_like(moment, 1 / self.depth.copies(name))
            if self.width is not None:
                scale = scale * self.width.gradient_scale(source, moment)
            moment = moment * (scale if key == "exp_avg" else scale**2)
        return torch.where(blank, 0.0, moment)

    def _cohorts(self, name: str, source: str, old: Gathered, counters: Counters, youngest: Tensor) -> Tensor:
        """The cohort of each coordinate; the new ones form the last."""
        origin = name if self.moments == "keep_index" and name in old else source
        before = old[origin].get(COHORT)
        if before is None or self.moments == "reset":
            before = torch.zeros_like(old[origin][WEIGHT], dtype=torch.uint8)
        if self.width is not None:
            before = self.width.select(origin, before)
        if not (self._new_is_young or self.marks_new):
            return before
        label = len(self.counters(counters).births) - 1
        return torch.where(youngest, torch.tensor(label, dtype=torch.uint8), before)


def no_growth(layers: int, blocks: str, family: str) -> Growth:
    """The state as it is."""
    return Growth(DepthMap(tuple(range(layers)), blocks, family))
