"""A recipe as a run folder recorded it, perhaps long ago: keys that came later have what the run did then."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from apollo_ds.config.recipe import Recipe
from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS
from apollo_ds.models.families import shape_class_of


def with_defaults(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as a run folder holds it; keys that did not exist yet when it was written have their defaults.

    Where a run did something else then, the class says so in `was`, and that is taken instead.
    """
    values = {**_defaults(Recipe), **Recipe.was, **recorded}
    shape = shape_class_of(values["model"])
    values["model"] = {**_defaults(shape), **shape.was, **values["model"]}
    values["method"] = _method_with_defaults(values["method"])
    return values


def _method_with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    if "parts" in options:
        return {**options, "parts": [_method_with_defaults(part) for part in options["parts"]]}
    kind = METHODS.get(str(options["name"]))
    return {**({**_defaults(kind), **kind.was} if kind else {}), **options}


def _defaults(kind: type[BaseModel]) -> dict[str, Any]:
    """Without those that depend on other values."""
    fixed = {
        k: field for k, field in kind.model_fields.items() if not field.is_required() and not field.default_factory
    }
    return {key: to_jsonable_python(field.default) for key, field in fixed.items()}


def read_recorded(path: Path) -> dict[str, Any]:
    """The recipe part of config.yaml.

    Raises:
        UserError: it is damaged.
    """
    try:
        return with_defaults(yaml.safe_load(path.read_text())["recipe"])
    except (OSError, yaml.YAMLError, TypeError, KeyError, ValueError, AttributeError):
        raise UserError(f"{path}: damaged; remove the run folder or choose another with out=...") from None
