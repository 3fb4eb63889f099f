"""Turn an error of pydantic into one sentence for the user, with the key as the user writes it."""

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
"""Our words for pydantic's errors, by the type of the error."""

_CHOSEN_BY_NAME = {
    "model": ("families", BY_FAMILY),
    "method": ("methods", BY_METHOD),
    "optimizer": ("optimizers", BY_OPTIMIZER),
}
"""The keys whose class is chosen by a name: what such names are called, and where the classes are."""


def complaint(error: ValidationError, root: type[BaseModel], within: str = "") -> str:
    """One sentence on the first mistake in the keys of the class `root`. These keys are inside the key `within`.

    An unknown key is reported before a missing one: the user may have meant the missing key.
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
    """A bound as people write it."""
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
    """The name of a method or optimizer. None for other classes."""
    field = kind.model_fields.get("name")
    return str(field.default) if field and field.default else None


def _inside(unknown: Any) -> str | None:
    """The key inside a model, method or optimizer that has this name: `model.hidden_size` for `hidden_size`."""
    kinds = ((key, kind) for key, (_, by) in _CHOSEN_BY_NAME.items() for kind in by.classes().values())
    return next((f"{key}.{unknown}" for key, kind in kinds if unknown in kind.model_fields), None)


def _place(loc: Sequence[int | str], root: type[BaseModel], within: str) -> tuple[str, type[BaseModel]]:
    """The name of the key in which pydantic found a mistake, and the class of that key or of the mapping around it."""
    classes = {by.tag(name): kind for by in (BY_METHOD, BY_OPTIMIZER, BY_FAMILY) for name, kind in by.classes().items()}
    key, kind = within, root
    for part in loc:
        if part in classes:
            kind = classes[str(part)]
        elif isinstance(part, int):
            key += f"[{part}]"
        elif part in kind.model_fields:
            key += f".{part}" if part != "parts" else ""  # a recipe writes a list of methods without the word
            kind = class_within(kind.model_fields[part].annotation) or kind
        elif part not in ("parts", "[key]"):  # "[key]" is pydantic's word for a key that is itself wrong
            key += f".{part}"
    return key.removeprefix("."), kind


def class_within(annotation: Any) -> type[BaseModel] | None:
    """The class with keys in an annotation: the annotation itself, one beside None, or the parts of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := class_within(part))), None)


def _unknown_name(key: str, error: ErrorDetails) -> str:
    """The sentence for a method, optimizer or family that does not exist.

    A method or optimizer can be given by its name alone, so the key `name` is not mentioned.
    """
    given, by, known = error["input"], error["ctx"]["key"], error["ctx"]["known"].split()
    if not isinstance(given, Mapping):
        return f"{key}: there is no {shown(given)}; {choice(known, given)}"
    if by not in given:
        return f"{key}.{by} is missing; {choice(known)}"
    return f"{key if by == 'name' else f'{key}.{by}'}: there is no {shown(given[by])}; {choice(known, given[by])}"
