"""The course of a run under a method: learning rates, micro-batches, and stages that end early."""

import pytest
from planned import schedule, stages

from apollo_ds.schedule.triggers import SlopeFlatterThan


def test_micro_batches_may_draw_depths_of_their_own() -> None:
    together, apart = (schedule(stages("apollo", "gpt2", draw=draw)) for draw in ("step", "micro_step"))
    depths = [
        [planned.at(step, micro).depth for micro in range(8)] for planned in (together, apart) for step in range(9)
    ]
    assert all(len(set(step)) == 1 for step in depths[:9])
    assert any(len(set(step)) > 1 for step in depths[9:])


def test_the_learning_rate_restarts_with_a_new_course() -> None:
    planned = schedule(stages("g_stack", "gpt2", grow_at=0.25))
    rates = [planned.at(step).learning_rate for step in range(400)]
    assert max(rates[:100]) == max(rates[100:]) == pytest.approx(1e-3)
    assert rates[99] < 2e-6
    assert rates[100] == pytest.approx(1e-3 / 30)
    assert rates[399] < 2e-6


def test_listed_stages_have_rates_of_their_own() -> None:
    listed = [{"fraction": 0.5, "layers": 2, "learning_rate_scale": 0.5}, {"fraction": 0.5}]
    going_on = schedule(stages("compound_grow", "gpt2", stage_list=listed))
    plain = schedule(stages("scratch", "gpt2"))
    assert going_on.at(199).learning_rate == pytest.approx(0.5 * plain.at(199).learning_rate)
    assert going_on.at(200).learning_rate == pytest.approx(plain.at(200).learning_rate)
    anew = schedule(stages("compound_grow", "gpt2", stage_list=listed, restarts_learning_rate=True))
    assert anew.at(199).learning_rate < 1e-6 < anew.at(200).learning_rate == pytest.approx(1e-3 / 20)


def test_the_learning_rate_goes_back_where_staged_training_grows() -> None:
    planned = schedule(stages("staged", "gpt2", rewarm="none"))
    rates = [planned.at(step).learning_rate for step in range(400)]
    assert rates[100] == pytest.approx(rates[round(100 / 1.776)], rel=1e-6)
    assert rates[100] > rates[99]
    assert rates[399] < 1e-5


def test_the_learning_rate_goes_back_farther_where_both_double() -> None:
    planned = schedule(stages("staged", "gpt2", operators=["width_and_depth"], rewarm="none"))
    assert planned.stage_steps == [100, 300]
    assert planned.stages[0].ends == SlopeFlatterThan(-0.03)
    rates = [planned.at(step).learning_rate for step in range(400)]
    assert rates[100] == pytest.approx(rates[round(100 / 2.455)], rel=1e-6)


def test_a_stage_that_ends_early_gives_its_steps_to_the_last() -> None:
    planned = schedule(stages("staged", "gpt2")).ended_at(60)
    assert planned.stage_steps == [60, 100, 240]
    assert planned.at(60).stage == 1
    assert planned.total_steps == 400
