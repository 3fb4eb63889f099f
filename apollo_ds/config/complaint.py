"""What pydantic finds wrong in values that a user gave, as one sentence that names the key in the user's own words."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from apollo_ds.by_name import UNKNOWN_NAME
from apollo_ds.engine.optimizers import BY_OPTIMIZER
from apollo_ds.errors import shown
from apollo_ds.methods import BY_METHOD
from apollo_ds.models.families import BY_FAMILY
from data_prep.did_you_mean import choice, nearest
from data_prep.misuse import WRONG_KINDS

_UNKNOWN_KEY = ("extra_forbidden", "invalid_key")
IN_WORDS = {
    **WRONG_KINDS,
    "bool_type": "choose true or false",
    "dict_type": "must be a mapping",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "greater_than": "must be greater than {gt}",
    "int_type": "must be a whole number",
    "less_than": "must be less than {lt}",
    "list_type": "must be a list in brackets",
    "model_attributes_type": "must be a mapping",
    "model_type": "must be a mapping",
    "multiple_of": "must be a multiple of {multiple_of}",
    "none_required": "must be none",
    "path_type": "must be a path",
    "string_type": "must be text",
    "string_unicode": "must be text of Unicode characters",
    "too_long": "must be a list of at most {max_length}",
    "too_short": "must be a list of at least {min_length}",
    "tuple_type": "must be a list in brackets",
}
"""What takes the place of pydantic's words, by the type of its error."""

_CHOSEN_BY_NAME = {
    "model": ("families", BY_FAMILY),
    "method": ("methods", BY_METHOD),
    "optimizer": ("optimizers", BY_OPTIMIZER),
}
"""By key what the names there are called, and the classes."""


def complaint(error: ValidationError, root: type[BaseModel], within: str = "") -> str:
    """The first thing that is wrong with the keys of `root`, which stand `within` a key.

    An unknown key comes before one that is missing: it may be meant for it.
    """
    first = min(error.errors(), key=lambda details: details["type"] not in _UNKNOWN_KEY)
    kind = first["type"]
    if kind in _UNKNOWN_KEY:
        return _unknown_key(first, root, within)
    key, _ = _place(first["loc"], root, within)
    if kind == "missing":
        return f"{key} is missing"
    if kind == UNKNOWN_NAME:
        return _unknown_name(key, first)
    if kind == "value_error":
        return f"{key}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    given = shown(first["input"]) if first["input"] is not None else "none"
    if kind == "literal_error":
        return f"{key}: {_choice_of(first)}, not {'null' if first['input'] is None else given}"
    words = IN_WORDS.get(kind, first["msg"])
    bounds = {name: number(bound) for name, bound in first.get("ctx", {}).items()}
    return f"{key}: {words.format(**bounds)}, not {given}"


def number(value: Any) -> str:
    """A bound for people."""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def _choice_of(error: ErrorDetails) -> str:
    known = error["ctx"]["expected"].replace(" or ", ", ").split(", ")
    known = [name.strip("'") if name[0] == "'" else name.lower() for name in known]
    return f"choose one of {', '.join(known)}" if len(known) > 1 else f"must be {known[0]}"


def _unknown_key(error: ErrorDetails, root: type[BaseModel], within: str) -> str:
    *inside, unknown = error["loc"]
    parent, around = _place(inside, root, within)
    kinds, by = _CHOSEN_BY_NAME.get(parent, ("", None))
    others = [name for name, kind in by.classes().items() if unknown in kind.model_fields] if by else []
    if others:
        return f"unknown key {parent}.{unknown}; {kinds} that have it: {', '.join(others)}"
    near = nearest(around.model_fields, unknown)
    if parent:
        keys = f"the keys of {_name_of(around) or parent} are {', '.join(around.model_fields)}"
        fix = f"did you mean {parent}.{near}?" if near else keys
        return f"unknown key {parent}.{unknown}; {fix}"
    meant = near or _inside(unknown)
    return f"unknown key {unknown}; {f'did you mean {meant}?' if meant else '`apollo-ds keys` shows all keys'}"


def _name_of(kind: type[BaseModel]) -> str | None:
    """What a method or optimizer is called; None for other classes."""
    field = kind.model_fields.get("name")
    return str(field.default) if field and field.default else None


def _inside(unknown: Any) -> str | None:
    """The key of this name that a model, method or optimizer has: `model.hidden_size`, where `hidden_size` is given."""
    kinds = ((key, kind) for key, (_, by) in _CHOSEN_BY_NAME.items() for kind in by.classes().values())
    return next((f"{key}.{unknown}" for key, kind in kinds if unknown in kind.model_fields), None)


def _place(loc: Sequence[int | str], root: type[BaseModel], within: str) -> tuple[str, type[BaseModel]]:
    """The name of a key in which pydantic found something wrong, and the class that stands there or around it."""
    classes = {by.tag(name): kind for by in (BY_METHOD, BY_OPTIMIZER, BY_FAMILY) for name, kind in by.classes().items()}
    key, kind = within, root
    for part in loc:
        if part in classes:
            kind = classes[str(part)]
        elif isinstance(part, int):
            key += f"[{part}]"
        elif part in kind.model_fields:
            key += f".{part}" if part != "parts" else ""  # a list of methods, as a recipe writes it
            kind = class_within(kind.model_fields[part].annotation) or kind
        elif part not in ("parts", "[key]"):  # the latter is pydantic's word for a key that is wrong itself
            key += f".{part}"
    return key.removeprefix("."), kind


def class_within(annotation: Any) -> type[BaseModel] | None:
    """The class of keys that an annotation has: alone, beside None, or as the parts of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := class_within(part))), None)


def _unknown_name(key: str, error: ErrorDetails) -> str:
    """A method, optimizer or family that there is not. The first two may be names, so the key `name` is not told."""
    given, by, known = error["input"], error["ctx"]["key"], error["ctx"]["known"].split()
    if not isinstance(given, Mapping):
        return f"{key}: there is no {shown(given)}; {choice(known, given)}"
    if by not in given:
        return f"{key}.{by} is missing; {choice(known)}"
    return f"{key if by == 'name' else f'{key}.{by}'}: there is no {shown(given[by])}; {choice(known, given[by])}"
