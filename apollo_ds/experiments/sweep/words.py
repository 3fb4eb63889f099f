"""Write a recipe's values as words of a command line: YAML without white space."""

import json
import re
from typing import Any

import yaml

from apollo_ds.config.documents import parse_yaml
from apollo_ds.errors import UserError


def word(key: str, value: Any) -> str:
    """An override `key=value`. Text stays as it is, and other values are written without white space."""
    return f"{key}={value if isinstance(value, str) else compact(value)}"


def compact(value: Any) -> str:
    """A value as YAML without white space. Only text keeps its own."""
    if isinstance(value, list):
        return "[" + ",".join(compact(part) for part in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(str(key))}:{compact(part)}" for key, part in value.items()) + "}"
    if isinstance(value, float):
        return yaml.safe_dump(value).split("\n")[0]  # unlike JSON, YAML needs a point before an exponent
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./-]*", value, re.ASCII) and parse_yaml(value) == [value]:
        return value
    return json.dumps(value)


def plain(value: Any) -> Any:
    """A grid's value, read as on a command line: a text may be YAML, such as `[deep_jump, pld]`."""
    if not isinstance(value, str):
        return value
    try:
        read = parse_yaml(value)
    except UserError:
        return value  # the check of the recipe will report it
    return read[0] if len(read) == 1 and isinstance(read[0], list | dict) else value


def label(key: str, value: Any) -> str:
    """The part of a folder's name for a value: `apollo` or `deep_jump+pld` for a method, else `key=value`."""
    if key == "method":
        return _method(value)
    return f"{key}={_shown(value)}"


def _shown(value: Any) -> str:
    """A value in a folder's name, without slashes, and without brackets and quotes, which shells interpret.

    `{data/wiki: 0.7, data/law: 0.3}` becomes `data_wiki=0.7+data_law=0.3`.
    """
    if isinstance(value, dict):
        return "+".join(f"{_shown(str(key))}={_shown(part)}" for key, part in value.items()) or "none"
    if isinstance(value, list):
        return "-".join(_shown(part) for part in value)
    return re.sub(r"[\s/]", "_", value if isinstance(value, str) else compact(value))


def _method(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(_method(part) for part in value)
    if isinstance(value, dict):
        options = [label(key, option) for key, option in value.items() if key != "name"]
        return ",".join([str(value.get("name")), *options])
    return str(value)
