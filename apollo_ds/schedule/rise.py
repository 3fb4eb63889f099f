"""How far the branches of new layers have risen (Chen et al. 2026, arXiv 2603.05369), as a function of the step.

The paper multiplies what layer l of L, counted from 1, adds by min(t / (T l), 1) after t steps: lower layers first. A
stage says over how many steps R all of its n new layers rise. The l-th of them has risen after R l / n steps, so that T
is R / n. With R = 1,200 and 12 layers, the first has risen after 100 steps and the last after 1,200.

The clock is the number of steps that have been taken when a step is over: in its first step a layer is above 0, and
learns.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from apollo_ds.models.layer_map import LayerMap, added
from apollo_ds.schedule.stage import Stage

Births = tuple[int | None, ...]
"""For each unique layer of a stage, the number of the stage that it was new in; None where a source brought it."""


def births_of(stages: Sequence[Stage]) -> list[Births]:
    """When each layer of each stage was new.

    A growth that only gives shared positions layers of their own brings no new ones: what runs there has risen. Nor
    does a learned operator, which makes all layers from all.
    """
    first = stages[0]
    births: list[Births] = [(None if first.source else 0,) * first.unique_layers]
    for number, (old, new) in enumerate(pairwise(stages), start=1):
        if new.learned_growth or old.learned_growth:
            births.append((None,) * new.unique_layers)
            continue
        origin = new.grown_from(old)
        fresh = added(origin) if deepens(old, new) else ()
        births.append(tuple(number if i in fresh else births[-1][source] for i, source in enumerate(origin)))
    return births


def deepens(old: Stage, new: Stage) -> bool:
    """Whether a stage's network has more positions than that of the one before it."""
    return new.evaluation_depth > old.evaluation_depth


def new_layers_rise(old: Stage, new: Stage) -> bool:
    """Whether what a stage adds to the depth begins at 0, whatever its weights."""
    return new.rise_steps > 0 and deepens(old, new)


def parts_risen(
    layer_map: LayerMap, births: Births, stages: Sequence[Stage], first_steps: Sequence[int], steps: int
) -> tuple[float, ...]:
    """How far the branches of each position have risen after so many steps of the run, from 0 to 1; empty for 1."""
    born = [births[layer] for layer in layer_map]
    of_birth, seen = Counter(born), Counter[int | None]()
    parts = []
    for birth in born:
        seen[birth] += 1
        rise = 0.0 if birth is None else stages[birth].rise_steps * seen[birth] / of_birth[birth]
        parts.append(1.0 if birth is None or rise == 0 else min((steps - first_steps[birth]) / rise, 1.0))
    return () if all(part == 1.0 for part in parts) else tuple(parts)
