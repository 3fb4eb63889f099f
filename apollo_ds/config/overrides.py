"""Read files of keys and values, and apply the `key=value` words of a command line to them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from apollo_ds.config.documents import NOT_YAML, PATHS, parse_json, parse_yaml
from apollo_ds.config.packaged import deepspeed_names, find_deepspeed
from apollo_ds.errors import UserError, shown
from apollo_ds.models.families import preset
from apollo_ds.schedule.source import HF
from data_prep.did_you_mean import choice

_QUOTES = ("'", '"')
_WEIGHT = "data."
"""The beginning of a key that sets the weight of a folder. The folder's name may have dots in it."""


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """The keys and values of a YAML file. Messages call the file a `what`.

    Raises:
        UserError: the file is missing, cannot be read, or holds something else.
    """
    values, *others = read_mappings(path, what)
    if others:
        raise UserError(f"{path}: a {what} is one YAML document, without a line of ---")
    return values


def read_mappings(path: Path, what: str) -> list[dict[str, Any]]:
    """The keys and values of each document of a YAML file, which has at least one.

    Raises:
        UserError: it is not there, cannot be read, or holds something else.
    """
    documents = _parsed(path, what, parse_yaml) or [None]
    if documents == [None]:
        raise UserError(f"{path}: is empty; a {what} is a YAML file with lines such as seed: 1")
    if not all(isinstance(values, dict) for values in documents):
        raise UserError(f"{path}: a {what} has lines of a key and its value, such as seed: 1")
    return documents


def read_deepspeed(name: str, recipe: Path | None = None) -> Any:
    """The values of a DeepSpeed file that a recipe or the command line names.

    `packaged.find_deepspeed` says in which folders it looks for the file.

    Raises:
        UserError: the file is missing, or is not JSON.
    """
    found = find_deepspeed(name, recipe)
    if found is None:
        raise UserError(f"deepspeed: there is no file {name}; {choice(deepspeed_names(), name)}")
    return _parsed(found, "DeepSpeed file", parse_json)


def _parsed(path: Path, what: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; name the file of a {what}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 from byte {error.start} on; a {what} is a text file") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one key of a recipe's values. A dotted key sets a value inside a mapping.

    If the outer key has a name as its value, such as `bert-base`, the mapping that it stands for takes its place.

    Raises:
        UserError: the word is not an override, its value is not YAML, or a dotted key leads into a value that is not a
            mapping.
    """
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"{shown(override)} is not an override; write key=value")
    *parents, last = key.split(".", maxsplit=1 if key.startswith(_WEIGHT) else -1)
    value = _value(key, last, text)
    target = values
    for parent in parents:
        if isinstance(target.get(parent), str) and target is values:
            target[parent] = _expand(parent, target[parent])
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise UserError(f"{key}: {parent} is not a mapping")
    target[last] = value


def _value(key: str, last: str, text: str) -> Any:
    """The value that an override's text stands for: a path stays as written, everything else is read as YAML."""
    is_text = last in PATHS and text[:1] not in _QUOTES and not key.startswith(_WEIGHT)
    if is_text and key in ("data", "out") and not (key == "data" and text.lstrip()[:1] == "{"):
        return text
    try:
        values = parse_yaml(text, weighs=key == "data")
    except UserError as error:
        why = "" if str(error).startswith(NOT_YAML) else f": {error}"
        raise UserError(f"{key}: {shown(text)} is not a YAML value{why}") from None
    if len(values) > 1:
        raise UserError(f"{key}: {shown(text)} is not a YAML value but several documents")
    value = values[0] if values else None
    if is_text and not isinstance(value, dict | list | None):
        value = text
    return read_deepspeed(value) if key == "deepspeed" and isinstance(value, str) else value


def _expand(key: str, name: str) -> dict[str, Any]:
    """The mapping that a name stands for, so that an override can change a value in it."""
    if key == "model":
        return {"from": name} if name.startswith(HF) else preset(name).model_dump()
    if key in ("method", "optimizer"):
        return {"name": name}
    if key == "data":
        raise UserError(
            f"data: {name} is one folder; write all of them and their weights, as in data='{{{name}: 1, ...}}'"
        )
    raise UserError(f"{key}: {shown(name)} is not a mapping")
