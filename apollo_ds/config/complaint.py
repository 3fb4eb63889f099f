"""What pydantic finds wrong in a recipe, as one sentence that names the key in the recipe's own words."""

import difflib
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from apollo_ds.by_name import UNKNOWN_NAME
from apollo_ds.config.recipe import Recipe
from apollo_ds.methods import BY_METHOD
from apollo_ds.models.families import BY_FAMILY

_UNKNOWN_KEY = ("extra_forbidden", "invalid_key")
_IN_WORDS = {"path_type": "must be a path", "dict_type": "must be a mapping"}


def complaint(error: ValidationError) -> str:
    """The first thing that is wrong. An unknown key comes before one that is missing: it may be meant for it."""
    first = min(error.errors(), key=lambda details: details["type"] not in _UNKNOWN_KEY)
    if first["type"] in _UNKNOWN_KEY:
        *inside, unknown = first["loc"]
        parent, kind = _place(inside)
        (near,) = difflib.get_close_matches(str(unknown), kind.model_fields, n=1, cutoff=0.0)
        prefix = f"{parent}." if parent else ""
        return f"unknown key {prefix}{unknown}; did you mean {prefix}{near}?"
    key, _ = _place(first["loc"])
    if first["type"] == "missing":
        return f"{key} is missing"
    if first["type"] == UNKNOWN_NAME:
        return _unknown_name(key, first)
    if first["type"] == "value_error":
        return f"{key}: {first['msg'].removeprefix('Value error, ')}"
    return f"{key}: {_IN_WORDS.get(first['type'], first['msg'])}, not {first['input']!r}"


def _place(loc: Sequence[int | str]) -> tuple[str, type[BaseModel]]:
    """The name of a key in which pydantic found something wrong, and the class that stands there or around it."""
    classes = {by.tag(name): kind for by in (BY_METHOD, BY_FAMILY) for name, kind in by.classes().items()}
    key = ""
    kind: type[BaseModel] = Recipe
    for part in loc:
        if part in classes:
            kind = classes[str(part)]
        elif isinstance(part, int):
            key += f"[{part}]"
        elif part != "parts":  # a list of methods, as a recipe writes it
            key += f".{part}"
    return key.removeprefix("."), kind


def _unknown_name(key: str, error: ErrorDetails) -> str:
    """A method or a family that there is not. A method may stand for its name, so the key `name` is not told."""
    given, by = error["input"], error["ctx"]["key"]
    if not isinstance(given, Mapping):
        return f"{key}: {error['msg']}, not {given!r}"
    if by not in given:
        return f"{key}.{by} is missing; {error['msg']}"
    return f"{key if by == 'name' else f'{key}.{by}'}: {error['msg']}, not {given[by]!r}"
