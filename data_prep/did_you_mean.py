"""What to say where a name is not known."""

import difflib
from collections.abc import Iterable
from typing import Any

_NEARLY_THE_SAME = 0.8
"""Of difflib: one letter in five is another."""
_MOST = 3


def choice(known: Iterable[str], given: Any = None) -> str:
    """The name that is meant, as a question; or all there are, where none is near."""
    names = list(known)
    near = nearest(names, given)
    return f"did you mean {near}?" if near else f"choose one of {', '.join(names)}"


def nearest(known: Iterable[str], given: Any) -> str:
    """The known names that may be meant, joined by "or"; empty if none is near.

    First one of nearly the same letters, large or small; then one of these initials, as `lr` are; then those that have
    the given words in them, as `global_batch_size` has `batch_size`; then one of somewhat the same letters.
    """
    names, word = {name.lower(): name for name in known}, str(given).lower()
    near = (
        difflib.get_close_matches(word, names, n=1, cutoff=_NEARLY_THE_SAME)
        or [name for name in names if word == "".join(part[:1] for part in name.split("_"))][:1]
        or [name for name in names if f"_{word}_" in f"_{name}_"][:_MOST]
        or difflib.get_close_matches(word, names, n=1)
    )
    return " or ".join(names[name] for name in near)
