"""Model families, one file each. To add a family, add a file with a subclass of `Family`; nothing else is needed."""

from collections.abc import Mapping
from importlib import import_module
from inspect import getmembers, isabstract, isclass
from pkgutil import iter_modules
from typing import Annotated, Any

from apollo_ds.by_name import ByName
from apollo_ds.errors import UserError, shown
from apollo_ds.models.family import Family
from apollo_ds.models.shape import ModelShape
from data_prep.did_you_mean import choice


def find_families() -> dict[str, Family]:
    """The families in this package's files, by name."""
    found: dict[str, Family] = {}
    for module in iter_modules(__path__):
        for _, kind in getmembers(import_module(f"{__name__}.{module.name}"), isclass):
            if issubclass(kind, Family) and not isabstract(kind):
                found[kind.name] = kind()
    return dict(sorted(found.items()))


FAMILIES = find_families()
USUAL = "llama"
"""The family that is used where the user names none."""
PRESETS = {name: shape for family in FAMILIES.values() for name, shape in family.presets.items()}


def family_of(shape: ModelShape) -> Family:
    """The family of a shape.

    Raises:
        UserError: there is none of that name.
    """
    if shape.family not in FAMILIES:
        raise UserError(f"model.family: there is no {shown(shape.family)}; {choice(FAMILIES, shape.family)}")
    return FAMILIES[shape.family]


def family_of_config(config: Mapping[str, Any]) -> Family:
    """The family of a parsed config.json.

    Raises:
        UserError: it names none, or one that is not here.
    """
    families = {family.model_type or name: family for name, family in FAMILIES.items()}
    given = config.get("model_type")
    if given is None:
        raise UserError("model_type is missing; save the model again with save_pretrained")
    if not isinstance(given, str) or given not in families:
        raise UserError(f"model_type is {shown(given)}, and these are trained here: {', '.join(families)}")
    return families[given]


def shape_class_of(sizes: Mapping[str, Any]) -> type[ModelShape]:
    """The class of the sizes that a recipe gives for a model; the plain one where it names no known family."""
    family = FAMILIES.get(str(sizes.get("family")))
    return family.shape_class if family else ModelShape


def shape_classes() -> dict[str, type[ModelShape]]:
    """The class of each family's sizes."""
    return {name: family.shape_class for name, family in FAMILIES.items()}


BY_FAMILY = ByName("family", shape_classes)
AnyShape = Annotated[ModelShape, BY_FAMILY]
"""A shape of any family, as a field of a pydantic model that is written and read with all of the family's sizes."""


def preset(name: str) -> ModelShape:
    """The shape of a named model.

    Raises:
        UserError: there is no such preset.
    """
    if name not in PRESETS:
        raise UserError(f"model: there is no preset {shown(name)}; {choice(PRESETS, name)}")
    return PRESETS[name]


__all__ = [
    "BY_FAMILY",
    "FAMILIES",
    "PRESETS",
    "AnyShape",
    "Family",
    "family_of",
    "family_of_config",
    "find_families",
    "preset",
    "shape_class_of",
    "shape_classes",
]
