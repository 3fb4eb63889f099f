"""Options of methods that share layers: deep ends, the rate of shared layers, noise that tells copies apart."""

from io import StringIO

import pytest
import torch
from recipes import tiny
from rich.console import Console

from apollo_ds.config.recipe import Recipe
from apollo_ds.errors import UserError
from apollo_ds.growth.depth_and_width import growth_between
from apollo_ds.planning.plan import print_plan

LAYERS = {"name": "apollo", "layers": [1, 3, 6], "grow_at": [0.25, 0.5]}


def recipe_with(**options: object) -> Recipe:
    return tiny("gpt2", "unused", method={**LAYERS, **options}, steps=40, lr_schedule="constant", warmup_fraction=0.0)


def test_a_deep_end_runs_all_positions_and_rebuilds_nothing() -> None:
    schedule = recipe_with(deep_end=0.3).schedule()
    assert [(stage.unique_layers, stage.steps) for stage in schedule.stages] == [
        (1, 7),
        (1, 3),
        (3, 7),
        (3, 3),
        (6, 20),
    ]
    for before, end in ((0, 1), (2, 3)):
        assert schedule.stages[end].continues(schedule.stages[before])
        steps = range(schedule.first_steps[end], schedule.first_steps[end + 1])
        assert {schedule.at(step).depth for step in steps} == {6}
    assert not schedule.stages[2].continues(schedule.stages[1])


def test_a_deep_end_does_not_go_with_a_warm_up() -> None:
    with pytest.raises(UserError, match=r"method.deep_end: .*; remove it or rewarm"):
        recipe_with(deep_end=0.3, rewarm="all")


def test_a_deep_end_of_no_step_is_none() -> None:
    assert [stage.steps for stage in recipe_with(deep_end=0.01).schedule().stages] == [10, 10, 20]


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_shared_layers_learn_at_a_rate_of_their_own(power: float) -> None:
    recipe = recipe_with(shared_rate=power)
    schedule = recipe.schedule()
    for number, stage in enumerate(schedule.stages):
        expected = (stage.unique_layers / schedule.expected_depth(number)) ** power
        at = schedule.at(schedule.first_steps[number])
        assert at.learning_rate == pytest.approx(recipe.learning_rate * expected)
    assert schedule.at(39).learning_rate == recipe.learning_rate


def test_noise_tells_copies_apart_and_spares_the_old_layer() -> None:
    stages = recipe_with(noise=0.1).schedule().stages
    growth = growth_between(stages[0], stages[1], "model.transformer.h", seed=5)
    again = growth_between(stages[0], stages[1], "model.transformer.h", seed=5)
    other = growth_between(stages[0], stages[1], "model.transformer.h", seed=6)
    matrix, vector = "mlp.c_fc.weight", "mlp.c_fc.bias"
    old = {
        f"model.transformer.h.0.{matrix}": 3 + 2 * torch.randn(200, 300),
        f"model.transformer.h.0.{vector}": torch.randn(300),
    }
    counters = None
    new = {
        (i, part): growth.apply(f"model.transformer.h.{i}.{part}", "weight", old, counters)  # type: ignore[arg-type]
        for i in range(3)
        for part in (matrix, vector)
    }
    source = old[f"model.transformer.h.0.{matrix}"]
    assert torch.equal(new[0, matrix], source)
    assert all(torch.equal(new[i, vector], old[f"model.transformer.h.0.{vector}"]) for i in range(3))
    for i in (1, 2):
        added = new[i, matrix] - source
        assert float(added.std() / source.std()) == pytest.approx(0.1, rel=0.02)
        assert abs(float(added.mean())) < 0.01
        name = f"model.transformer.h.{i}.{matrix}"
        assert torch.equal(again.apply(name, "weight", old, counters), new[i, matrix])  # type: ignore[arg-type]
        assert not torch.equal(other.apply(name, "weight", old, counters), new[i, matrix])  # type: ignore[arg-type]
    assert not torch.equal(new[1, matrix], new[2, matrix])
    later = growth_between(stages[1], stages[2], "model.transformer.h", seed=5)
    alike = {f"model.transformer.h.{i}.{matrix}": source for i in range(3)}
    name = f"model.transformer.h.1.{matrix}"
    assert not torch.equal(later.apply(name, "weight", alike, counters), new[1, matrix])  # type: ignore[arg-type]


def test_the_plan_says_that_noise_changes_the_function() -> None:
    shown = StringIO()
    print_plan(recipe_with(noise=0.5), Console(file=shown))
    assert shown.getvalue().count("changed (noise)") == 2
