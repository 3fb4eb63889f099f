"""The growths into a learning stage and out of it, for `Engine.restore`: the optimizer starts anew at both."""

from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from apollo_ds.growth.counters import WEIGHT, Counters
from apollo_ds.growth.learned.model import flat_name
from apollo_ds.growth.learned.operator import LearnedOperator


@dataclass(frozen=True)
class IntoLearning:
    """Keeps the small model's weights, and leaves the coefficients as they were initialised."""

    operator: LearnedOperator

    def sources(self, name: str, exists: set[str]) -> tuple[str, ...]:
        """Name the small model's parameter that the learning model holds as `name`; nothing for a coefficient."""
        return self._sources[name]

    def apply(self, name: str, tensor: str, old: dict[str, Tensor], counters: Counters) -> Tensor | None:
        """Return a small weight, or None for coefficients and moments, which stay as the new engine has them."""
        return old[self._sources[name][0]] if tensor == WEIGHT and self._sources[name] else None

    def counters(self, old: Counters) -> Counters:
        """A new optimizer's."""
        return replace(old, adam_step=0, births=(0,))

    @cached_property
    def _sources(self) -> dict[str, tuple[str, ...]]:
        coefficients: dict[str, tuple[str, ...]] = {flat_name(name): () for name in self.operator.coefficient_shapes}
        return coefficients | {flat_name(name): (name,) for name in self.operator.old_shapes}


@dataclass(frozen=True)
class OutOfLearning:
    """Makes each large weight from the small weights and coefficients that it depends on."""

    operator: LearnedOperator

    def sources(self, name: str, exists: set[str]) -> tuple[str, ...]:
        """Name the learning model's parameters that a new one is made from."""
        return tuple(map(flat_name, self.operator.sources(name)))

    def apply(self, name: str, tensor: str, old: dict[str, Tensor], counters: Counters) -> Tensor | None:
        """Return the new weight, or None for moments, which stay as the new engine has them."""
        if tensor != WEIGHT:
            return None
        return self.operator.weight(name, {source: old[flat_name(source)] for source in self.operator.sources(name)})

    def counters(self, old: Counters) -> Counters:
        """A new optimizer's."""
        return replace(old, adam_step=0, births=(0,))
