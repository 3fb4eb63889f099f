"""The rise of new layers: factors of their branches' outputs, from 0 to 1 (Chen et al. 2026, arXiv 2603.05369).

In the paper, the output of layer l of L, counted from 1, is multiplied by min(t / (T l), 1) after t steps. So lower
layers rise first. Here a stage gives the number of steps R over which its n new layers rise. The l-th of them has risen
after R l / n steps, so T is R / n. With R = 1,200 and 12 layers, the first has risen after 100 steps and the last after
1,200.

t counts a step from its beginning: it is 1 in the first step. So a layer is above 0 in its first step, and learns.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from apollo_ds.models.layer_map import LayerMap, added
from apollo_ds.schedule.stage import Stage

Births = tuple[int | None, ...]
"""For each unique layer of a stage, the number of the stage in which it was new; None if it never rises."""


def births_of(stages: Sequence[Stage]) -> list[Births]:
    """Return for each stage in which stage each of its layers was new.

    A growth that keeps the number of positions, and only ends the sharing of layers, has no new layers, since its
    positions have risen. A learned operator has none either, since it makes each layer from all old ones.
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
    """Whether a stage's network has more positions than that of the stage before it."""
    return new.evaluation_depth > old.evaluation_depth


def new_layers_rise(old: Stage, new: Stage) -> bool:
    """Whether the outputs of the layers that a stage adds begin at 0, whatever their weights are."""
    return new.rise_steps > 0 and deepens(old, new)


def parts_risen(
    layer_map: LayerMap, births: Births, stages: Sequence[Stage], first_steps: Sequence[int], steps: int
) -> tuple[float, ...]:
    """Return the factor of each position's branches after `steps` steps of the run, from 0 to 1; empty if all are 1."""
    born = [births[layer] for layer in layer_map]
    of_birth, seen = Counter(born), Counter[int | None]()
    parts = []
    for birth in born:
        seen[birth] += 1
        rise = 0.0 if birth is None else stages[birth].rise_steps * seen[birth] / of_birth[birth]
        parts.append(1.0 if birth is None or rise == 0 else min((steps - first_steps[birth]) / rise, 1.0))
    return () if all(part == 1.0 for part in parts) else tuple(parts)
