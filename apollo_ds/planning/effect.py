"""Say what a growth does to the function that is evaluated: it is unchanged, or something changes it."""

from collections.abc import Sequence
from math import isclose

from apollo_ds.models.families import family_of
from apollo_ds.models.layer_map import LayerMap, added
from apollo_ds.models.shape import ModelShape
from apollo_ds.schedule.scale_change import adds_silent_layers, scale_change
from apollo_ds.schedule.source import BranchPoint
from apollo_ds.schedule.stage import Stage

_EPSILON_TOLERANCE = 1e-6
"""How far the epsilon of a normalisation may be, relatively, from the one that keeps the function. Within this, the
function changes by less than fp32 rounds."""
_Runs = list[tuple[int, str]]
"""For each position: the old layer that runs there, and the kind of its attention."""


def effect_of_growth(stages: Sequence[Stage], number: int) -> str:
    """The effect of entering a stage on the function that is evaluated, in words."""
    if number == 0:
        source = stages[0].source
        return "another run's" if isinstance(source, BranchPoint) else "as in the source" if source else "initialised"
    old, new = stages[number - 1], stages[number]
    if new.continues(old):
        return next(iter(_effect_of_more_positions(old, new)), "goes on")
    if new.learned_growth:
        return f"{new.learned_growth.operator} at its start"
    if old.learned_growth:
        return "unchanged"
    depth = _effect_of_depth(old, new)
    if not any(change.startswith("changed") for change in depth) and not scale_change(old, new).is_exact:
        depth = ["changed (one weight for several scales)"]
    changes = [*_effect_of_pooling(old, new), *depth, *_effect_of_width(old, new)]
    return ", ".join(changes) if changes else "unchanged"


def _effect_of_pooling(old: Stage, new: Stage) -> list[str]:
    return [] if old.pool == new.pool else [f"changed (pool {old.pool} -> {new.pool})"]


def _effect_of_depth(old: Stage, new: Stage) -> list[str]:
    rule, a, b = new.growth, old.unique_layers, new.unique_layers
    if a == b:
        return _effect_of_more_positions(old, new)
    is_copy, silent = rule.new_layers == "copy", _adds_nothing(old, new)
    if rule.noise and is_copy and not silent:
        return ["changed (noise)"]
    origin = new.grown_from(old)
    before, after = _runs(old, tuple(range(a))), _runs(new, origin)
    if silent:
        positions = new.map_to(new.evaluation_depth)
        new_ones = added(origin)
        after = [run for run, layer in zip(after, positions, strict=True) if layer not in new_ones]
    elif not is_copy:
        return [f"changed ({rule.new_layers})"]
    if before != after:
        return [f"changed ({rule.layer_map if is_copy else rule.new_layers})"]
    if silent:
        return []
    first_stays = family_of(new.shape).first_layer_is_unlike
    return [f"unchanged (1+{a - 1} | 1+{b - 1})" if first_stays else f"unchanged ({a} | {b})"]


def _effect_of_more_positions(old: Stage, new: Stage) -> list[str]:
    """The effect of a growth without new layers. The old layers may run more often."""
    before, after = old.evaluation_depth, new.evaluation_depth
    return [] if before == after else [f"changed (depth {before} -> {after})"]


def _adds_nothing(old: Stage, new: Stage) -> bool:
    return adds_silent_layers(old, new) and family_of(new.shape).is_pre_norm


def _runs(stage: Stage, origin: LayerMap) -> _Runs:
    depth = stage.evaluation_depth
    kinds = family_of(stage.shape).attention_types(stage.shape) or [""] * depth
    return [(origin[layer], kind) for layer, kind in zip(stage.map_to(depth), kinds, strict=False)]


def _effect_of_width(old: Stage, new: Stage) -> list[str]:
    before, after = old.shape, new.shape
    averages = new.growth.width == "averaged" and after.hidden_size % before.hidden_size
    if averages and _averaging_is_exact(before, after):
        return []
    changes = []
    if before.norm_epsilon != after.norm_epsilon:
        changes.append(f"norm_epsilon {before.norm_epsilon:g} -> {after.norm_epsilon:g}")
    if (before.hidden_size, before.intermediate_size) == (after.hidden_size, after.intermediate_size):
        return changes
    if averages:
        return [*changes, f"wider (averaged{_why_not_exact(before, after)})"]
    # Normalisation needs every hidden unit copied equally often; feed-forward units do not pass through it.
    rule, uniform = new.growth.width, after.hidden_size % before.hidden_size == 0
    only_inner = after.hidden_size == before.hidden_size
    exact = rule != "aki" and (only_inner or (uniform and rule != "net2net"))
    return changes if exact else [*changes, f"wider ({rule})"]


def _averaging_is_exact(before: ModelShape, after: ModelShape) -> bool:
    family, wanted = family_of(after), _averaged_epsilon(before, after)
    is_near = isclose(after.norm_epsilon, wanted, rel_tol=_EPSILON_TOLERANCE)
    return is_near and family.normalises_sums_only and not family.shares_epsilon


def _averaged_epsilon(before: ModelShape, after: ModelShape) -> float:
    """The epsilon that keeps the function. It is smaller by the fraction of copied units; see `growth.extra_units`."""
    return before.norm_epsilon * (1 - after.hidden_size % before.hidden_size / after.hidden_size)


def _why_not_exact(before: ModelShape, after: ModelShape) -> str:
    """The reason why averaging is not exact, with what a recipe can do about it.

    Empty if the reason is in all of the family's normalisations.
    """
    family = family_of(after)
    if not family.normalises_sums_only:
        return ""
    if family.shares_epsilon:
        return "; other normalisations share norm_epsilon"
    return f"; norm_epsilon must be {_averaged_epsilon(before, after):.7g}"  # the tolerance needs this many digits
