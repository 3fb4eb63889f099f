"""Name groups in a figure. What all names have in common is said once, in the title."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Self

from apollo_ds.experiments.compare.comparable import share_model
from apollo_ds.experiments.compare.groups import Group

_BETWEEN = re.compile(r",(?! )")
"""The separator of two parts of a name. A comma within a value has a space behind it."""


def factored(names: Sequence[str]) -> tuple[str, list[str]]:
    """The parts that all names have in common, and what is left of each: its method, or what tells it from the others.

    `scratch,lr_schedule=wsd` and `sprout,lr_schedule=wsd` have `lr_schedule=wsd` in common.
    """
    parts = [_BETWEEN.split(name) for name in names]
    if len(names) == 1:
        return names[0], [""]
    common = [part for part in parts[0] if all(part in others for others in parts)]
    rest = [[part for part in of_one if part not in common] for of_one in parts]
    method = parts[0][0]
    if method in common and not all(rest):  # one of them consists only of its method
        common.remove(method)
        rest = [[method, *of_one] for of_one in rest]
    return ", ".join(common), [", ".join(of_one) for of_one in rest]


def but_for_the_usual(names: Sequence[str]) -> tuple[str, list[str]]:
    """The values that most names have, and each name without them: `6 layers` for `6 layers, decay=0.1`."""
    parts = [name.split(", ") for name in names]
    usual = [part for part in dict.fromkeys(chain(*parts)) if 2 * sum(part in of_one for of_one in parts) > len(names)]
    told = [part for part in usual if "=" in part]
    return ", ".join(told), [", ".join(part for part in of_one if part not in told) for of_one in parts]


@dataclass(frozen=True)
class Names:
    """The names of groups in a figure: a title for what they have in common, and a label for each."""

    title: str
    labels: tuple[str, ...]

    @classmethod
    def of(cls, groups: Sequence[Group]) -> Self:
        """Make the names. The model and the number of seeds are in the title if they are the same for all groups."""
        runs = [run for group in groups for run in group.shown]
        common, rest = factored([group.name for group in groups])
        seeds = [_seeds(group) for group in groups]
        told = [common] if common else []
        if share_model(runs):
            shape = runs[0].recipe["model"]
            told.append(f"{shape['family']} {shape['num_layers']}x{shape['hidden_size']}")
        if len(set(seeds)) == 1:
            told.append(seeds[0] + (" each" if len(groups) > 1 and len(groups[0].shown) > 1 else ""))
            seeds = [""] * len(groups)
        states = ["" if group.finished else "unfinished" for group in groups]
        parts = zip(rest, seeds, states, strict=True)
        return cls(", ".join(told), tuple(", ".join(filter(None, of_one)) for of_one in parts))


def _seeds(group: Group) -> str:
    return f"{len(group.shown)} seeds" if len(group.shown) > 1 else f"seed {group.shown[0].seed}"
