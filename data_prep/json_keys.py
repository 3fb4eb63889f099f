"""Refuse a JSON object in which a key comes twice. Python's own reader silently takes the later value."""

from typing import Any


class KeyTwice(Exception):
    """A key comes twice in one object. The text of the error is the key."""


def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of keys and values. It is for `object_pairs_hook` of `json.loads`.

    Raises:
        KeyTwice: two of the keys are equal.
    """
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise KeyTwice(key)
        values[key] = value
    return values
