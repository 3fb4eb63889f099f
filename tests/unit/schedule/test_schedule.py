"""The schedule: what a step does is a pure function of its number."""

from dataclasses import replace

import pytest
from planned import BATCH, SEQ_LEN
from planned import bert_base_schedule as schedule

from apollo_ds.errors import UserError
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.stage import Stage


def test_each_stage_begins_where_the_one_before_it_ends() -> None:
    planned = schedule()
    assert planned.first_steps == (0, 20, 40, 100)
    assert planned.total_steps == 400
    assert [planned.stage_number(step) for step in (0, 19, 20, 39, 40, 99, 100, 399)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [planned.at(step).stage for step in (19, 20, 99, 100)] == [0, 1, 2, 3]


def test_a_step_may_be_asked_for_in_any_order() -> None:
    once = [schedule().at(step) for step in range(400)]
    planned = schedule()
    assert [planned.at(step) for step in reversed(range(400))][::-1] == once
    assert planned.at(123) == planned.at(123) == schedule().at(123)


def test_a_distant_step_is_known_at_once() -> None:
    planned = schedule(steps=1_000_000)
    plan = planned.at(999_999)
    assert (plan.stage, plan.depth, plan.first_token) == (3, 12, 999_999 * BATCH * SEQ_LEN)


def test_the_depths_follow_the_seed_and_nothing_else_does() -> None:
    one, other = schedule(seed=1), schedule(seed=2)
    plans = [(one.at(step), other.at(step)) for step in range(100)]
    assert any(a.depth != b.depth for a, b in plans)
    drawn = {"layer_map": (), "drawn_depth": 0}
    assert all(replace(a, **drawn) == replace(b, **drawn) for a, b in plans)


def test_the_layer_map_has_the_drawn_depth_and_the_stage_s_layers() -> None:
    planned = schedule()
    for step in range(100):
        plan = planned.at(step)
        unique = planned.stages[plan.stage].unique_layers
        assert unique <= plan.depth <= 12
        assert len(plan.layer_map) == plan.depth
        assert set(plan.layer_map) == set(range(unique))
    assert {planned.at(step).depth for step in range(100, 400)} == {12}


def test_tokens_go_on_across_stages_of_other_lengths() -> None:
    lengths = (32, 64, 64, 128)
    stages = tuple(replace(stage, seq_len=n) for stage, n in zip(schedule().stages, lengths, strict=True))
    planned = Schedule(stages, BATCH, schedule().learning_rate, 42)
    first_token = 0
    for step in range(planned.total_steps):
        plan = planned.at(step)
        assert plan.first_token == first_token
        first_token += BATCH * plan.seq_len
    assert first_token == BATCH * (20 * 32 + 80 * 64 + 300 * 128)


def test_the_learning_rate_goes_on_across_growths() -> None:
    planned = schedule()
    for step in range(400):
        plan = planned.at(step)
        assert plan.learning_rate == plan.new_learning_rate == planned.learning_rate.at(step, 400)


def test_everything_can_be_warmed_up_again_after_a_growth() -> None:
    planned = schedule(policy="constant", rewarm="all", rewarm_fraction=0.01)  # 4 steps
    factors = [planned.at(step).learning_rate / 1e-3 for step in range(18, 26)]
    assert factors == pytest.approx([1, 1, 0.25, 0.5, 0.75, 1, 1, 1])
    assert all(planned.at(step).new_learning_rate == planned.at(step).learning_rate for step in range(400))
    assert planned.at(0).learning_rate == planned.learning_rate.at(0, 400)  # the first stage grew from nothing


def test_the_new_coordinates_alone_can_be_warmed_up_again() -> None:
    planned = schedule(policy="constant", rewarm="new", rewarm_fraction=0.01)
    plans = [planned.at(step) for step in range(98, 106)]
    assert [plan.learning_rate / 1e-3 for plan in plans] == pytest.approx([1] * 8)
    assert [plan.new_learning_rate / 1e-3 for plan in plans] == pytest.approx([1, 1, 0.25, 0.5, 0.75, 1, 1, 1])


def test_a_warm_up_of_no_steps_changes_nothing() -> None:
    planned = schedule(policy="constant", rewarm="all", rewarm_fraction=0)
    assert {planned.at(step).learning_rate for step in range(10, 400)} == {1e-3}


def bad(*planned: Stage) -> str:
    with pytest.raises(UserError) as caught:
        Schedule(planned, BATCH, schedule().learning_rate, 42)
    return str(caught.value)


def test_layer_counts_may_stay_but_not_fall() -> None:
    first, second, *_ = schedule().stages
    assert "must increase from stage to stage, not [3, 1]" in bad(second, first)
    assert Schedule((first, first), BATCH, schedule().learning_rate, 42).total_steps == 40


def test_a_stage_needs_a_step() -> None:
    first, second, *_ = schedule().stages
    assert "stage 2 of 2 has no steps; raise `steps`" in bad(first, replace(second, steps=0))
