"""docs/concepts/growth.png: where weights, moments and ages of a grown model come from."""

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import torch
from matplotlib.figure import Figure

from apollo_ds.growth.counters import COHORT, WEIGHT, Counters
from apollo_ds.growth.transition import growth_into
from apollo_ds.growth.weights_and_moments import StateMap
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.layer_map import added
from apollo_ds.models.shape import ModelShape
from apollo_ds.schedule.depth import fs
from apollo_ds.schedule.stage import GrowthRule, MomentRule, Stage
from data_prep.figure_style import INK, WIDTH, empty_figure
from drawn.cells import EMPTY, Cell, colour_of, draw_cells, frame

_OLD, _NEW, _STEPS = 3, 6, 500
_MATRIX = "model.transformer.h.{}.mlp.{}.weight"
_FAMILY = FAMILIES["gpt2"]
_SIZES = {"hidden_size": 4, "num_heads": 2, "vocab_size": 8, "max_position_embeddings": 8}


def _shape(layers: int, inner: int) -> ModelShape:
    return _FAMILY.shape_class(family="gpt2", num_layers=layers, intermediate_size=inner, **_SIZES)


def _stages(layers: tuple[int, int], inner: tuple[int, int], rule: MomentRule) -> tuple[Stage, Stage]:
    """Before and after a growth; the layers before it run at the depth of those after it."""
    small, large = (_shape(layers[1], width) for width in inner)
    before = Stage("drawn", _STEPS, small, layers[0], 8, depth_distribution=fs(*layers))
    return before, replace(
        before, shape=large, unique_layers=layers[1], depth_distribution=(1.0,), growth=GrowthRule(moments=rule)
    )


def facts() -> dict[str, Any]:
    """What `Growth` makes of a state in which each layer, and each feed-forward unit, is known by its number."""
    rules = get_args(MomentRule)
    growths = {rule: _growth((_OLD, _NEW), (3, 3), rule) for rule in rules}
    wider = _growth((1, 1), (3, 6), "map")
    return {
        "weights": [_source(growths["map"], layer, WEIGHT)[0] for layer in range(_NEW)],
        "moments": {
            rule: [[*_source(growth, layer, "exp_avg"), _age(growth, layer)] for layer in range(_NEW)]
            for rule, growth in growths.items()
        },
        "into": _wider(wider, "c_fc", torch.arange(1.0, 4).repeat(4, 1)),
        "out_of": _wider(wider, "c_proj", torch.arange(1.0, 4)[:, None].repeat(1, 4)),
    }


def _growth(layers: tuple[int, int], inner: tuple[int, int], rule: MomentRule) -> StateMap:
    before, after = _stages(layers, inner, rule)
    return growth_into(after, before, seed=0)


def _source(growth: StateMap, layer: int, tensor: str) -> tuple[int | None, float]:
    """The old layer that a tensor of a new one comes from, None for zeros; and what it is multiplied by."""
    name, exists = _MATRIX.format(layer, "c_fc"), {_MATRIX.format(old, "c_fc") for old in range(_OLD)}
    old = {source: torch.tensor([1.0, int(source.split(".")[3])]) for source in growth.sources(name, exists)}
    new = growth.apply(name, tensor, old, Counters(_STEPS))
    assert new is not None
    factor = float(new[0])
    return (None, 0.0) if factor == 0 else (round(float(new[1]) / factor), factor)


def _age(growth: StateMap, layer: int) -> int:
    name, old = _MATRIX.format(layer, "c_fc"), Counters(_STEPS)
    new = growth.counters(old)
    exists = {_MATRIX.format(number, "c_fc") for number in range(_OLD)}
    cohorts = {source: torch.zeros(2, dtype=torch.uint8) for source in growth.sources(name, exists)}
    cohort = growth.apply(name, COHORT, cohorts, old)
    assert cohort is not None
    return new.adam_step - new.births[int(cohort[0])]


def _wider(growth: StateMap, matrix: str, numbered: torch.Tensor) -> list[list[tuple[int, float]]]:
    """Of each element of a wider matrix, the old unit that it belongs to, and what it is multiplied by."""
    name = _MATRIX.format(0, matrix)
    units, factors = (
        growth.apply(name, WEIGHT, {name: old}, Counters(_STEPS)) for old in (numbered, torch.ones_like(numbered))
    )
    assert units is not None
    assert factors is not None
    return [
        [(round(float(unit / factor)) - 1, float(factor)) for unit, factor in zip(*rows, strict=True)]
        for rows in zip(units, factors, strict=True)
    ]


def draw(drawn: dict[str, Any]) -> Figure:
    """At the left more layers, at the right wider ones."""
    figure = empty_figure(WIDTH, 3.3)
    left, right = figure.subplots(1, 2, width_ratios=(10, 6.4))
    new = added(tuple(drawn["weights"]))
    rows = [[Cell(f"layer {layer}", colour_of(layer), i in new) for i, layer in enumerate(drawn["weights"])]]
    for layers in drawn["moments"].values():
        rows.append([_moment_cell(*layer, is_new=i in new) for i, layer in enumerate(layers)])
    draw_cells(left, rows, ["weights", *drawn["moments"]], size=6.5)
    frame(left, f"{_OLD} layers become {_NEW}: the new layers 0 to {_NEW - 1}", -1.6, _NEW, -len(rows) - 0.1)
    _draw_width(right, drawn)
    return figure


def _moment_cell(source: int | None, factor: float, age: int, is_new: bool) -> Cell:
    if source is None:
        return Cell(f"zeros\nage {age}", EMPTY, is_new)
    part = "" if factor == 1 else f" x {factor:g}"
    return Cell(f"of {source}{part}\nage {age}", colour_of(source), is_new)


def _draw_width(axes: Any, drawn: dict[str, Any]) -> None:
    into, out_of = (
        [[Cell("½" if factor == 0.5 else f"{factor:g}", colour_of(3 + unit)) for unit, factor in row] for row in rows]
        for rows in (drawn["into"], drawn["out_of"])
    )
    dashed = np.array([[unit for unit, _ in row] for row in drawn["into"]]).shape[1] // 2
    into = [[replace(cell, is_new=i >= dashed) for i, cell in enumerate(row)] for row in into]
    out_of = [[replace(cell, is_new=i >= dashed) for cell in row] for i, row in enumerate(out_of)]
    draw_cells(axes, into)
    draw_cells(axes, out_of, left=7)
    frame(axes, "3 feed-forward units become 6", -0.1, 11, -7.2, 0.8)
    axes.text(0, 0.25, "matrix into them", fontsize=7, color=INK)
    axes.text(7, 0.25, "out of them", fontsize=7, color=INK)
