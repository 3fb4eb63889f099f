"""Files of keys and values, and the `key=value` words of a command line that change them."""

import json
from pathlib import Path
from typing import Any

import yaml

from apollo_ds.config.packaged import find_deepspeed
from apollo_ds.errors import UserError
from apollo_ds.models.families import preset


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """The keys and values of a YAML file; `what` names it in messages.

    Raises:
        UserError: it is not there, cannot be read, or holds something else.
    """
    values, *others = read_mappings(path, what)
    if others:
        raise UserError(f"{path}: a {what} is one YAML document, without a line of ---")
    return values


def read_mappings(path: Path, what: str) -> list[dict[str, Any]]:
    """The same for a file of several YAML documents, of which there is at least one.

    Raises:
        UserError: it is not there, cannot be read, or holds something else.
    """
    try:
        documents = list(yaml.safe_load_all(path.read_text())) or [None]
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such {what}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not all(isinstance(values, dict) for values in documents):
        raise UserError(f"{path}: a {what} is a mapping of keys to values")
    return documents


def read_json(name: str, recipe: Path | None = None) -> dict[str, Any]:
    """A DeepSpeed file that a recipe or the command line names; `packaged.find_deepspeed` says where it is looked for.

    Raises:
        UserError: it is not there, or is not JSON.
    """
    found = find_deepspeed(name, recipe)
    if found is None:
        raise UserError(f"{recipe or 'command line'}: deepspeed: there is no file {name}")
    try:
        return json.loads(found.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{found}: not valid JSON: {error}") from None


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one key of a recipe's values. Dotted keys reach inside; a preset's or a method's name becomes its mapping.

    Raises:
        UserError: it is no override, its value is not YAML, or its key reaches into something else than a mapping.
    """
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"{override!r} is not an override; write key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"{key}: {text!r} is not a YAML value") from None
    if key == "deepspeed" and isinstance(value, str):
        value = read_json(value)
    *parents, last = key.split(".")
    target = values
    for parent in parents:
        if isinstance(target.get(parent), str) and target is values:
            target[parent] = _expand(parent, target[parent])
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise UserError(f"{key}: {parent} is not a mapping")
    target[last] = value


def _expand(key: str, name: str) -> dict[str, Any]:
    """The mapping that a name stands for, so that an override can reach inside it."""
    if key == "model":
        return preset(name).model_dump()
    if key == "method":
        return {"name": name}
    raise UserError(f"{key}: {name!r} is not a mapping")
