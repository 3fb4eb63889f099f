"""The plan of every method: its sums, and what a run of it costs."""

import pytest
from every_method import CASES, COMBINATIONS

from apollo_ds.config.load import resolve
from apollo_ds.config.recipe import Recipe
from apollo_ds.methods import METHODS
from apollo_ds.models.families import PRESETS
from apollo_ds.models.flops import parameters
from apollo_ds.planning.plan import plan
from apollo_ds.planning.step_flops import step_flops


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_plan_of_every_method_for_every_preset(method: str, preset: str) -> None:
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
    method_options = COMBINATIONS.get(method, method)
    return resolve(
        {**values, "model": preset, "method": method_options, "steps": steps, "eval_every": 9, "save_every": 9}, "test"
    )
