"""How far new layers have risen: the paper's numbers, births through growths, and skipped or cut stages."""

from dataclasses import replace

import pytest
from planned import schedule, shape, stages

from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS, Combination, Run
from apollo_ds.models.layer_map import added
from apollo_ds.schedule.agreement import steps_alike
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.stage import Stage

DEEP = shape("gpt2", 12)


def combined(*parts: object, steps: int = 1000, of: object = DEEP) -> list[Stage]:
    return Combination(parts=parts).stages(Run(of, steps, seq_len=16, global_batch_size=8))  # type: ignore[arg-type]


def test_the_papers_schedule_from_scratch() -> None:
    """alpha(l, t) = min(t / (T l), 1); 12 layers over 120 of 1,000 steps make T = 10."""
    (stage,) = METHODS["progressive_residual"](name="progressive_residual", fraction=0.12).stages(
        Run(DEEP, 1000, 16, 8)
    )  # type: ignore[call-arg]
    planned = schedule([stage])
    for taken in (1, 5, 10, 60, 119):
        assert planned.at(taken - 1).risen == pytest.approx([min(taken / (10 * layer), 1) for layer in range(1, 13)])
    assert planned.at(118).risen[-1] < 1
    assert planned.at(119).risen == ()
    assert planned.risen(0, 0, 12) == (0.0,) * 12, "before the first step"


def test_after_a_growth_the_new_layers_rise_and_the_old_ones_stay() -> None:
    planned = schedule(combined("sprout", {"name": "progressive_residual", "fraction": 0.1}))
    first = planned.first_steps[1]
    assert planned.at(first - 1).risen == ()
    assert planned.at(first - 1).layer_map == (0, 1)
    old = sorted(set(range(12)) - set(added(planned.stages[1].grown_from(planned.stages[0]))))
    for taken in (0, 10, 99):
        risen = planned.risen(1, first + taken, 12)
        new = [part for i, part in enumerate(risen) if i not in old]
        assert [risen[i] for i in old] == [1.0, 1.0]
        assert new == pytest.approx([min(taken / (10 * rank), 1) for rank in range(1, 11)])
    assert planned.at(first + 99).risen == ()


def test_layers_that_have_not_risen_at_a_growth_go_on_rising() -> None:
    grown = [{"name": "apollo", "layers": [6, 12], "grow_at": [0.05], "sampler": "none"}]
    planned = schedule(combined(*grown, {"name": "progressive_residual", "fraction": 0.12}))
    before, after = planned.risen(0, 50, 6), planned.risen(1, 50, 12)
    assert after[::2] == before and min(before) < 1
    assert after[1::2] == (0.0,) * 6


def test_nothing_rises_where_shared_positions_get_layers_of_their_own() -> None:
    planned = schedule(combined({"name": "apollo", "grow_at": [0.3, 0.5, 0.7]}, "progressive_residual"))
    for number in (1, 2, 3):
        assert planned.risen(number, planned.first_steps[number], 12) == ()


def test_a_stage_that_goes_on_with_longer_samples_does_not_rise_again() -> None:
    planned = schedule(combined("progressive_residual", {"name": "short_to_long", "until": [0.05]}))
    whole = schedule(stages("progressive_residual", "gpt2", steps=1000, of=DEEP))
    assert [planned.at(step).risen for step in range(200)] == [whole.at(step).risen for step in range(200)]


def test_layers_that_are_skipped_take_their_parts_with_them() -> None:
    planned = schedule(combined("progressive_residual", {"name": "raptr", "lengths": [0.5, 1.0]}))
    plans = [planned.at(step) for step in range(60)]
    assert any(plan.depth < 12 for plan in plans)
    for plan in plans:
        whole = planned.risen(0, plan.step + 1, plan.drawn_depth)
        assert plan.risen == tuple(whole[position] for position in plan.positions)


def test_a_source_s_layers_have_risen() -> None:
    planned = schedule(stages("upscale", "gpt2"))
    rising = Schedule(
        tuple(replace(stage, rise_steps=10) for stage in planned.stages), 4, planned.learning_rate, seed=1
    )
    assert rising.risen(1, 0, 4).count(1.0) == planned.stages[0].unique_layers


def test_another_fraction_is_another_run_from_the_step_at_which_it_shows() -> None:
    one, other = (schedule(stages("progressive_residual", "gpt2", fraction=part)) for part in (0.1, 0.2))
    assert steps_alike(one, other, 400) == 0
    assert steps_alike(one, other, 400, first=80) == 400, "when both are over"


def test_a_fraction_that_is_no_step_is_refused() -> None:
    with pytest.raises(UserError, match=r"method.fraction: 0.001 of 400 steps is less than one step"):
        stages("progressive_residual", "gpt2", fraction=0.001)
