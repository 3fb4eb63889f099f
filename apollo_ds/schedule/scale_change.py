"""Makes up for scales that change with the depth: a growth multiplies weights so that the function stays.

When 4 layers grow to 8 under a residual scale of 1/L, the scale of an old branch is halved. If the new layers are
silent, the weights that write the old branches are doubled, and the function stays. If the new layers are copies, the
weights stay, since two copies at half the scale add as much as the layer did alone.

A growth may also lead to a model with another kind of scale, for example from a source without scales. That change is
always made up for. The depths are those at which the two stages are evaluated.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isclose

from apollo_ds.models.depth_scale import PositionScales, layernorm_scale, residual_scale
from apollo_ds.models.layer_map import LayerMap, added
from apollo_ds.models.shape import ModelShape
from apollo_ds.schedule.rise import new_layers_rise
from apollo_ds.schedule.stage import Stage


@dataclass(frozen=True)
class ScaleChange:
    """Factors for each new layer: of the weights that write its branches, and of the normalisations that these read."""

    layers: tuple[PositionScales, ...]
    is_exact: bool
    """Whether the factors make up for the whole change. They may not for a layer that runs at several positions, since
    it has one weight for all of them."""


def adds_silent_layers(old: Stage, new: Stage) -> bool:
    """Whether new layers add nothing to the residual stream at first."""
    return new.growth.new_layers in ("zero", "silent", "identity") or new_layers_rise(old, new)


def scale_change(old: Stage, new: Stage) -> ScaleChange:
    """Return the factors by which the growth from one stage into the next multiplies weights."""
    origin, silent = new.grown_from(old), adds_silent_layers(old, new)
    before, after = old.evaluation_depth, new.evaluation_depth
    follows_depth = silent or before == after
    was = residual_scale(old.shape, before)
    shape_only = was / residual_scale(new.shape, before)
    kept = was / residual_scale(new.shape, after) if follows_depth else shape_only
    is_new = added(origin) if silent else ()
    layers, exact = [], follows_depth or isclose(was, residual_scale(new.shape, after), rel_tol=1e-12)
    for layer, source in enumerate(origin):
        if layer in is_new or not follows_depth:
            ratios = _ratios(old.shape, new.shape, ((p, p) for p in _positions(old.map_to(before), source)))
            layers.append(PositionScales(shape_only, ratios[0]))
            continue
        there = _positions(new.map_to(after), layer)
        here = _positions(old.map_to(before), source) if silent else there
        ratios = _ratios(old.shape, new.shape, zip(here, there, strict=False))
        exact = exact and all(isclose(ratio, ratios[0], rel_tol=1e-12) for ratio in ratios)
        layers.append(PositionScales(kept, ratios[0]))
    return ScaleChange(tuple(layers), exact)


def _positions(layer_map: LayerMap, layer: int) -> list[int]:
    return [position for position, runs in enumerate(layer_map) if runs == layer]


def _ratios(old: ModelShape, new: ModelShape, pairs: Iterable[tuple[int, int]]) -> list[float]:
    """Return old scale / new scale of the normalisations for each pair of an old and a new position."""
    ratios = [layernorm_scale(old, before) / layernorm_scale(new, after) for before, after in pairs]
    return ratios or [1.0]  # a layer that does not run, such as those above a prefix
