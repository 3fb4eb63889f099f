"""The plan of every method: its sums, and what a run of it costs."""

from fnmatch import fnmatch

import pytest
from every_method import CASES, COMBINATIONS
from sources import needed

from apollo_ds.config.load import resolve
from apollo_ds.config.recipe import Recipe
from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS
from apollo_ds.models.families import PRESETS
from apollo_ds.models.flops import parameters
from apollo_ds.planning.plan import plan
from apollo_ds.planning.step_flops import step_flops

_HALVES = "num_heads (9|15) cannot be divided by 2 for the smaller model"
REFUSED = {
    **{f"{method} smollm2-*": _HALVES for method in ("bert2bert", "ligo", "mango", "net2net", "staged")},
    "ligo modernbert-*": "ligo mixes all layers, and the first of a modernbert lacks a part",
    "mango modernbert-*": "mango mixes all layers, and the first of a modernbert lacks a part",
    "mango [lqt]*": "mango cuts matrices into square blocks",
    "staged modernbert-*": "(21|27) layers, without the first, cannot be halved",
}
"""Patterns of a method and a preset, and the reason that is told."""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_plan_of_every_method_for_every_preset(method: str, preset: str) -> None:
    for pattern, reason in REFUSED.items():
        if fnmatch(f"{method} {preset}", pattern):
            with pytest.raises(UserError, match=reason):
                plan(planned(method, preset, steps=2000))
            return
    recipe = planned(method, preset, steps=2000)
    stages, total = plan(recipe)["stages"], plan(recipe)["total"]
    assert sum(stage["steps"] for stage in stages) == 2000
    assert sum(stage["flops_share"] for stage in stages) == pytest.approx(1)
    assert 0 < total["flops"] <= total["scratch_flops"] * 1.01
    assert (
        stages[-1]["parameters"]
        == stages[-1]["trainable_parameters"]
        == parameters(recipe.model, recipe.model.num_layers)
    )


@pytest.mark.parametrize("method", CASES)
def test_what_a_run_costs_is_what_was_planned(method: str) -> None:
    recipe = planned(method, "bert-base", steps=3_000)
    schedule = recipe.schedule()
    used = sum(step_flops(schedule, schedule.at(step)) for step in range(3_000))
    assert used == pytest.approx(plan(recipe)["total"]["flops"], rel=0.01)


def planned(method: str, preset: str, steps: int) -> Recipe:
    values = {"data": "none", "out": "none", "global_batch_size": 8, "micro_batch_size": 8, "learning_rate": 1e-3}
    method_options = COMBINATIONS.get(method) or {"name": method, **needed(method, PRESETS[preset])}
    return resolve(
        {**values, "model": preset, "method": method_options, "steps": steps, "eval_every": 9, "save_every": 9}, "test"
    )
