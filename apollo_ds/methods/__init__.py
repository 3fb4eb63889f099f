"""Growth methods, one file each: a new file with a `Method` in it is all that a new method takes."""

from collections.abc import Iterable
from importlib import import_module
from inspect import getmembers, isabstract, isclass
from pkgutil import iter_modules
from typing import Any

from apollo_ds.errors import UserError
from apollo_ds.methods._base import GrowingMethod, MapName, Method, Modifier, Run, SamplerName, split_steps
from apollo_ds.schedule.stage import Stage


def find_methods() -> dict[str, type[Method]]:
    """The methods in this package's files, by name: each class that fixes its `name`."""
    found: dict[str, type[Method]] = {}
    for module in iter_modules(__path__):
        for _, kind in getmembers(import_module(f"{__name__}.{module.name}"), isclass):
            if issubclass(kind, Method) and not isabstract(kind) and isinstance(kind.model_fields["name"].default, str):
                found[kind.model_fields["name"].default] = kind
    return dict(sorted(found.items()))


METHODS = find_methods()


class Combination(Method):
    """A method, and what is laid over its stages: a list in the recipe."""

    parts: tuple[Any, ...]

    @classmethod
    def of(cls, methods: Iterable[Method]) -> Method:
        """One method from several; a single one stays what it is.

        Raises:
            UserError: one after the first makes stages of its own.
        """
        first, *others = methods
        if not others:
            return first
        for other in others:
            if not isinstance(other, Modifier):
                raise UserError(f"method: {other.name} makes its own stages, so it can only stand first in the list")
        return cls(name="+".join(part.name for part in (first, *others)), parts=(first, *others))

    @property
    def lr_schedule(self) -> Any:
        """That of the first."""
        return self.parts[0].lr_schedule

    def stages(self, run: Run) -> list[Stage]:
        """The first one's stages, changed by each of the others in turn."""
        first, *others = self.parts
        stages = first.stages(run)
        for other in others:
            stages = other.modify(stages, run)
        return stages


__all__ = [
    "METHODS",
    "Combination",
    "GrowingMethod",
    "MapName",
    "Method",
    "Modifier",
    "Run",
    "SamplerName",
    "find_methods",
    "split_steps",
]
