"""Reduces stages to values that are equal if the stages train alike. Options without an effect are left out."""

from collections.abc import Hashable, Sequence
from dataclasses import replace

from apollo_ds.models.depth_scale import with_scales_of
from apollo_ds.models.layer_map import added
from apollo_ds.schedule.rise import new_layers_rise
from apollo_ds.schedule.stage import GrowthRule, Stage

_NO_GROWTH = (None, None, None, None)


def effective(stages: Sequence[Stage]) -> Sequence[Hashable]:
    """Return a value for each stage; stages that train as if they were one get one value together."""
    values: list[tuple[Hashable, Hashable, int]] = []
    last: Hashable = None
    steps = 0
    for old, new in zip([None, *stages], stages, strict=False):
        value, growth = _what_runs(old, new), _growth(old, new) if old else None
        if values and growth == _NO_GROWTH and value == last:
            steps += new.steps
            values[-1] = (*values[-1][:2], steps)
        else:
            steps = new.steps
            values.append((value, growth, steps))
        last = value
    return values


def _what_runs(old: Stage | None, new: Stage) -> Hashable:
    runs = tuple((new.map_to(depth), chance) for depth, chance in new.depths())
    drops = new.layer_drop
    once = all(len(set(layers)) == len(layers) for layers, _ in runs)
    rest = replace(
        new,
        method="",
        steps=0,
        depth_distribution=(1.0,),
        shallowest=None,
        layer_map="",
        rise_steps=new.rise_steps if _brings_layers(old, new) else 0,
        draw=new.draw if len(runs) > 1 else "step",
        growth=GrowthRule(),
        tied_gradients="sum" if once else new.tied_gradients,
        layer_drop=drops if drops and drops.expected_depth(new.unique_layers, 0.0, 1.0) < new.unique_layers else None,
    )
    return rest, runs


def _brings_layers(old: Stage | None, new: Stage) -> bool:
    """Whether a stage has layers that are new to the network, and that may rise (`rise`)."""
    return new.source is None if old is None else new_layers_rise(old, new) and not new.learned_growth


def _growth(old: Stage, new: Stage) -> Hashable:
    """Return the parts of a stage's growth rule that have an effect after the stage `old`."""
    if old.learned_growth or new.learned_growth:
        return None
    rule, deeper = new.growth, new.unique_layers > old.unique_layers
    same = old.shape.model_copy(update={"num_layers": new.shape.num_layers})  # a source says its own
    wider = new.shape != with_scales_of(same, new.shape)
    depth = width = moments = rewarm = None
    if deeper:
        depth = (new.grown_from(old), rule.new_layers, rule.noise if rule.new_layers == "copy" else 0.0)
    if wider:
        width = rule.width
    nothing_is_new = not deeper and not wider and new.frozen == old.frozen
    keeps_all = rule.moments == "zero_new" and nothing_is_new
    if not new.continues(old) and not keeps_all and not _starts_without_moments(old, new):
        moments = rule.moments
    if rule.rewarm != "none":
        rewarm = _rewarm(rule)
    return depth, width, moments, rewarm


def _rewarm(rule: GrowthRule) -> Hashable:
    """Return the parts of a warm-up that have an effect. A warm-up of one step is at its end at once."""
    moves = rule.rewarm_steps > 1 and rule.rewarm_from != rule.rewarm_to
    if not moves and rule.rewarm_to == 1:
        return None
    return rule.rewarm, rule.rewarm_to, (rule.rewarm_from, rule.rewarm_steps) if moves else None


def _starts_without_moments(old: Stage, new: Stage) -> bool:
    """Whether no parameter that trains has taken over moments: only new layers train, and these begin without."""
    if not new.frozen.head or new.growth.new_layers == "copy":
        return False
    return {*new.frozen.layers, *added(new.grown_from(old))} == set(range(new.unique_layers))
