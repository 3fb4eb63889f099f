"""Operations of a schedule's steps: those that are expected are the mean of those that are drawn."""

from statistics import mean
from typing import Any

import pytest

from apollo_ds.methods import METHODS, Run
from apollo_ds.models.families import PRESETS
from apollo_ds.planning.step_flops import expected_step_flops, step_flops
from apollo_ds.schedule.learning_rate import LearningRate
from apollo_ds.schedule.schedule import Schedule

BATCH, SEQ_LEN = 8, 128


def schedule(
    method: str = "apollo", steps: int = 400, seed: int = 42, policy: Any = "cosine", **options: Any
) -> Schedule:
    stages = METHODS[method](name=method, **options).stages(Run(PRESETS["bert-base"], steps, SEQ_LEN))
    return Schedule(tuple(stages), BATCH, LearningRate(policy, 1e-3, warmup_fraction=1 / 40), seed)


@pytest.mark.parametrize("sampler", ["lvps", "es", "us", "fs", "none"])
def test_expected_operations_are_the_mean_of_the_drawn_ones(sampler: str) -> None:
    planned = schedule(steps=12_000, sampler=sampler, layers=[1, 3, 12], grow_at=[0.4, 0.8])
    for number, (first, stage) in enumerate(zip(planned.first_steps, planned.stages, strict=True)):
        drawn = mean(step_flops(planned, planned.at(step)) for step in range(first, first + stage.steps))
        assert drawn == pytest.approx(expected_step_flops(planned, number), rel=0.02), number


def test_a_deeper_step_costs_more() -> None:
    planned = schedule()
    costs = {plan.depth: step_flops(planned, plan) for plan in map(planned.at, range(400))}
    assert len(costs) > 5
    assert sorted(costs.values()) == [cost for _, cost in sorted(costs.items())]
