"""Objects of JSON in which each key comes once. Python's own reader takes the later of two, and says nothing."""

from typing import Any


class KeyTwice(Exception):
    """A key that comes twice in one object; its text is the key."""


def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys and values, as `object_pairs_hook` of `json.loads`.

    Raises:
        KeyTwice: two of the keys are equal.
    """
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise KeyTwice(key)
        values[key] = value
    return values
