"""Growth methods, one file each. To add a method, add a file with a subclass of `Method`; nothing else is needed."""

from collections.abc import Mapping
from importlib import import_module
from inspect import getmembers, isabstract, isclass
from pkgutil import iter_modules
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, model_validator

from apollo_ds.by_name import ByName
from apollo_ds.methods._base import (
    NAMED,
    GrowingMethod,
    MapName,
    Method,
    Modifier,
    Run,
    SamplerName,
    named_by,
    split_steps,
)
from apollo_ds.schedule.learning_rate import Policy
from apollo_ds.schedule.stage import Stage


def find_methods() -> dict[str, type[Method]]:
    """Return the methods in this package's files, by name: all classes whose `name` has a fixed value."""
    found: dict[str, type[Method]] = {}
    for module in iter_modules(__path__):
        for _, kind in getmembers(import_module(f"{__name__}.{module.name}"), isclass):
            if issubclass(kind, Method) and not isabstract(kind) and isinstance(kind.model_fields["name"].default, str):
                found[kind.model_fields["name"].default] = kind
    return dict(sorted(found.items()))


METHODS = find_methods()


_COMBINATION = "_combination"


def _options(given: Any) -> Any:
    """Turn a recipe's `method` into a mapping of options; a list of methods becomes a combination."""
    if isinstance(given, str):
        return {"name": given}
    if isinstance(given, Mapping) and "parts" in given:  # as a resolved recipe has it
        given = given["parts"]
    if not isinstance(given, list):
        return given
    if not given:
        raise ValueError("the list is empty; name at least one method")
    return _options(given[0]) if len(given) == 1 else {"name": _COMBINATION, "parts": given}


_Part = Annotated[Method, ByName("name", lambda: METHODS), BeforeValidator(_options)]


class Combination(Method):
    """A list of methods in a recipe: the first makes the stages, and each of the others changes them."""

    parts: tuple[_Part, ...]
    """The methods, in order."""

    @model_validator(mode="before")
    @classmethod
    def _is_called_after_its_parts(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        named = [_options(part) for part in options["parts"]]
        names = [part.get("name") if isinstance(part, Mapping) else getattr(part, "name", part) for part in named]
        return {**options, "name": "+".join(str(name) for name in names)}

    @model_validator(mode="after")
    def _only_the_first_makes_stages(self) -> Self:
        for other in self.parts[1:]:
            if not isinstance(other, Modifier):
                raise ValueError(f"{other.name} makes its own stages, so it can only stand first in the list")
        return self

    @property
    def lr_schedule(self) -> Policy:
        """The learning-rate schedule of the first method, where the recipe names none."""
        return self.parts[0].lr_schedule

    def stages(self, run: Run) -> list[Stage]:
        """The first one's stages, changed by each of the others in turn."""
        first, *others = self.parts
        stages = first.stages(run)
        for other in others:
            assert isinstance(other, Modifier)
            stages = other.modify(stages, run)
        return stages


BY_METHOD = ByName("name", lambda: {**METHODS, _COMBINATION: Combination})
AnyMethod = Annotated[Method, BY_METHOD, BeforeValidator(_options)]
"""What `method` of a recipe may be: a name, a mapping of a name and options, or a list of these."""

__all__ = [
    "BY_METHOD",
    "METHODS",
    "NAMED",
    "AnyMethod",
    "Combination",
    "GrowingMethod",
    "MapName",
    "Method",
    "Modifier",
    "Run",
    "SamplerName",
    "find_methods",
    "named_by",
    "split_steps",
]
