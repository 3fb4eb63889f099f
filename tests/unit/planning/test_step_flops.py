"""Operations of a schedule's steps: those that are expected are the mean of those that are drawn."""

from statistics import mean

import pytest
from planned import BATCH, SEQ_LEN
from planned import bert_base_schedule as schedule

from apollo_ds.models.families import family_of
from apollo_ds.planning.step_flops import expected_step_flops, step_flops


@pytest.mark.parametrize("sampler", ["lvps", "es", "us", "fs", "none"])
def test_expected_operations_are_the_mean_of_the_drawn_ones(sampler: str) -> None:
    planned = schedule(steps=12_000, sampler=sampler, layers=[1, 3, 12], grow_at=[0.4, 0.8])
    for number, (first, stage) in enumerate(zip(planned.first_steps, planned.stages, strict=True)):
        drawn = mean(step_flops(planned, planned.at(step)) for step in range(first, first + stage.steps))
        assert drawn == pytest.approx(expected_step_flops(planned, number), rel=0.02), number


def test_layers_on_pooled_tokens_cost_as_on_fewer_and_the_head_as_on_all() -> None:
    listed = [{"fraction": 0.5, "pool": 4}, {"fraction": 0.5}]
    planned = schedule("compound_grow", stage_list=listed)
    family, shape = family_of(planned.stages[0].shape), planned.stages[0].shape
    forward = 12 * family.layer_flops(shape, SEQ_LEN // 4) + family.head_flops(shape, SEQ_LEN)
    assert step_flops(planned, planned.at(0)) == expected_step_flops(planned, 0) == 3 * BATCH * forward


def test_a_deeper_step_costs_more() -> None:
    planned = schedule()
    costs = {plan.depth: step_flops(planned, plan) for plan in map(planned.at, range(400))}
    assert len(costs) > 5
    assert sorted(costs.values()) == [cost for _, cost in sorted(costs.items())]
