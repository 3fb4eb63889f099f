"""Suggest a name where the user gave one that is not known."""

import difflib
from collections.abc import Iterable
from typing import Any

_NEARLY_THE_SAME = 0.8
"""The ratio of difflib that counts as nearly the same: one letter in five differs."""
_MOST = 3


def choice(known: Iterable[str], given: Any = None) -> str:
    """A hint for a message: `did you mean NAME?`, or all known names if none is near the given one."""
    names = list(known)
    near = nearest(names, given)
    return f"did you mean {near}?" if near else f"choose one of {', '.join(names)}"


def nearest(known: Iterable[str], given: Any) -> str:
    """The known names that may be meant, joined by "or". Empty if none is near.

    It tries in this order: a name of nearly the same letters, in whatever case; a name with these initials, such as
    `learning_rate` for `lr`; names that contain the given words, such as `global_batch_size` for `batch_size`; a name
    of roughly the same letters.
    """
    names, word = {name.lower(): name for name in known}, str(given).lower()
    near = (
        difflib.get_close_matches(word, names, n=1, cutoff=_NEARLY_THE_SAME)
        or [name for name in names if word == "".join(part[:1] for part in name.split("_"))][:1]
        or [name for name in names if f"_{word}_" in f"_{name}_"][:_MOST]
        or difflib.get_close_matches(word, names, n=1)
    )
    return " or ".join(names[name] for name in near)
