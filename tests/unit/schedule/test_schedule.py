"""The schedule: what a step does is a pure function of its number."""

from dataclasses import replace
from itertools import pairwise

import pytest
from planned import BATCH, SEQ_LEN
from planned import bert_base_schedule as schedule

from apollo_ds.errors import UserError
from apollo_ds.schedule.learning_rate import LearningRate, Policy
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.stage import GrowthRule, Stage


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
        assert plan.learning_rate == planned.learning_rate.at(step, 400)
        assert plan.new_learning_rate is None


def test_everything_can_be_warmed_up_again_after_a_growth() -> None:
    planned = schedule(policy="constant", rewarm="all", rewarm_fraction=0.01)  # 4 steps
    factors = [planned.at(step).learning_rate / 1e-3 for step in range(18, 26)]
    assert factors == pytest.approx([1, 1, 0.25, 0.5, 0.75, 1, 1, 1])
    assert all(planned.at(step).new_learning_rate is None for step in range(400))
    assert planned.at(0).learning_rate == planned.learning_rate.at(0, 400)  # the first stage grew from nothing


def test_the_new_coordinates_alone_can_be_warmed_up_again() -> None:
    planned = schedule(policy="constant", rewarm="new", rewarm_fraction=0.01)
    plans = [planned.at(step) for step in range(98, 106)]
    assert [plan.learning_rate / 1e-3 for plan in plans] == pytest.approx([1] * 8)
    rates = [plan.new_learning_rate for plan in plans]
    assert rates == [None, None, *(pytest.approx(1e-3 * part) for part in (0.25, 0.5, 0.75)), None, None, None]


def test_what_is_new_goes_from_one_part_of_the_rate_to_another_and_keeps_it_until_the_next_growth() -> None:
    """SPARKLING's: from the rate itself to 1.3 times it."""
    planned = schedule(policy="constant", rewarm="new", rewarm_fraction=0.01, rewarm_from=1, rewarm_to=1.3)
    rates = [planned.at(step).new_learning_rate for step in range(98, 400)]
    parts = (1.075, 1.15, 1.225, *[1.3] * 297)
    assert rates == [pytest.approx(1.3e-3)] * 2 + [
        pytest.approx(1e-3 * part) for part in parts
    ]  # 98, 99: the last one's
    assert {planned.at(step).learning_rate for step in range(10, 400)} == {1e-3}
    everything = schedule(policy="constant", rewarm="all", rewarm_fraction=0.01, rewarm_from=0.5, rewarm_to=0.9)
    assert [everything.at(step).learning_rate / 1e-3 for step in range(19, 25)] == pytest.approx(
        [1, 0.6, 0.7, 0.8, 0.9, 0.9]
    )
    assert everything.at(399).learning_rate == pytest.approx(0.9e-3)


@pytest.mark.parametrize("policy", ["cosine", "linear", "wsd"])
@pytest.mark.parametrize("final", [0.0, 0.1])
def test_a_higher_rate_comes_down_to_the_same_minimum(policy: Policy, final: float) -> None:
    planned = schedule(policy=policy, rewarm="new", rewarm_fraction=0, rewarm_to=1.3)
    planned = replace(planned, learning_rate=replace(planned.learning_rate, final_fraction=final))
    plans = [planned.at(step) for step in range(100, 400)]
    ratios = [plan.new_learning_rate / plan.learning_rate for plan in plans if plan.new_learning_rate]
    assert len(ratios) == 300
    assert ratios[0] == pytest.approx(1.3)  # of the rate at the growth, whatever the minimum
    if final:
        assert all(after <= before + 1e-9 for before, after in pairwise(ratios))
        assert 1 <= planned.learning_rate.part_at(1.3, 400, 100, 400) / planned.learning_rate.at(400, 400) < 1 + 1e-9
    else:
        assert ratios == pytest.approx([1.3] * 300)


def test_a_higher_rate_within_the_first_warm_up_is_never_below_the_schedule_s() -> None:
    rate = LearningRate("cosine", 1e-3, warmup_fraction=0.5, final_fraction=0.5)
    parts = [rate.part_at(1.3, step, 10, 100) / rate.at(step, 100) for step in range(10, 100)]
    assert min(parts) == 1 < max(parts) == pytest.approx(1.3)
    level = LearningRate("linear", 1e-3, final_fraction=1)
    assert level.part_at(1.3, 50, 10, 100) == pytest.approx(1.3e-3)


def test_a_stage_that_goes_on_with_another_length_keeps_the_rate_of_what_is_new() -> None:
    planned = schedule(policy="constant", rewarm="new", rewarm_fraction=0.01, rewarm_from=1, rewarm_to=1.3)
    *first, last = planned.stages
    halves = (replace(last, steps=2), replace(last, steps=last.steps - 2, growth=GrowthRule(), seq_len=64))
    longer = replace(planned, stages=(*first, *halves))
    assert longer.at(150).stage == len(first) + 1
    for step in range(400):
        assert longer.at(step).new_learning_rate == planned.at(step).new_learning_rate


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
