"""What the names of groups have in common, so that a figure says it once."""

import re
from collections.abc import Sequence

_BETWEEN = re.compile(r",(?! )")
"""Between two parts of a name; a comma within a value has a space behind it."""


def factored(names: Sequence[str]) -> tuple[str, list[str]]:
    """The parts that all names have, and what is left of each: a method's name, or what tells it from the others.

    `scratch,lr_schedule=wsd` and `sprout,lr_schedule=wsd` have `lr_schedule=wsd` in common.
    """
    parts = [_BETWEEN.split(name) for name in names]
    if len(names) == 1:
        return names[0], [""]
    common = [part for part in parts[0] if all(part in others for others in parts)]
    rest = [[part for part in of_one if part not in common] for of_one in parts]
    method = parts[0][0]
    if method in common and not all(rest):  # one of them has nothing but its method
        common.remove(method)
        rest = [[method, *of_one] for of_one in rest]
    return ", ".join(common), [", ".join(of_one) for of_one in rest]
