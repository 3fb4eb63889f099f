"""Write a recipe as YAML for people: each key on a line of its own, with a comment."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

_WIDEST_VALUE = 40
"""Comments are aligned at a column of at most this many characters."""


def commented(values: Mapping[str, Any], comments: Mapping[str, str], heading: Sequence[str]) -> str:
    """Write values as YAML below a heading of comment lines. A value is plain, or a mapping of plain values.

    `comments` has a comment for each key, such as `steps`, or `model.family` for a key inside a mapping.
    """
    lines = list(_lines(values, comments, ""))
    column = max((len(line) for line, _ in lines if len(line) <= _WIDEST_VALUE), default=0)
    below = [f"{line:<{column}}  # {comment}" if comment else line for line, comment in lines]
    above = [f"# {part}" for line in heading for part in line.splitlines()]
    return "\n".join([*above, *below]) + "\n"


def _lines(values: Mapping[str, Any], comments: Mapping[str, str], above: str) -> list[tuple[str, str]]:
    indent = "  " if above else ""
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        comment = comments.get(f"{above}{key}", "")
        if isinstance(value, Mapping):
            found += [(f"{indent}{key}:", comment), *_lines(value, comments, f"{key}.")]
        else:
            found.append((f"{indent}{key}: {_plain(value)}", comment))
    return found


def _plain(value: Any) -> str:
    written = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True)
    return written.removesuffix("\n").removesuffix("\n...")
