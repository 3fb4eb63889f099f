"""What to say where a name is not known."""

import difflib
from collections.abc import Iterable
from typing import Any


def choice(known: Iterable[str], given: Any = None) -> str:
    """The name that is meant, as a question; or all there are, where none is near."""
    names = list(known)
    near = nearest(names, given)
    return f"did you mean {near}?" if near else f"choose one of {', '.join(names)}"


def nearest(known: Iterable[str], given: Any) -> str | None:
    """The known name that is most like the given one; None if none is.

    That is one of nearly the same letters, large or small; one that has the given word in it, as `learning_rate` has
    `rate`; or one of these initials, as `lr` are.
    """
    names, word = {name.lower(): name for name in known}, str(given).lower()
    near = difflib.get_close_matches(word, names, n=1)
    near += [name for name in names if word in name.split("_")]
    near += [name for name in names if word == "".join(part[:1] for part in name.split("_"))]
    return names[near[0]] if near else None
