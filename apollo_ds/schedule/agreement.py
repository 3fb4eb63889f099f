"""Up to which step two schedules are one: so far a run goes on under the other as if it had been planned so."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.stage import GrowthRule, Stage


def trained_alike(old: Schedule, new: Schedule, step: int, stage_steps: Sequence[int]) -> bool:
    """Whether a run under the old plan has taken the steps of the new one so far, when its stages had these lengths.

    A stage that ends early may change learning rates, but only from there on.
    """
    ends = [end for end in accumulate(stage_steps) if end <= step]
    parts = enumerate(pairwise([0, *ends, step]))
    return not would_last_longer(old, new, step, stage_steps) and all(
        steps_alike(ended_early(old, ends[:number]), ended_early(new, ends[:number]), last, first) >= last
        for number, (first, last) in parts
    )


def steps_alike(one: Schedule, other: Schedule, most: int, first: int = 0) -> int:
    """Up to which step, at most `most`, all from `first` on are the same under both."""
    most = min(most, one.total_steps, other.total_steps)
    first = max(first, one.begins_at, other.begins_at)
    alike: dict[tuple[int, int], bool] = {}
    for step in range(first, most):
        here, there = one.at(step), other.at(step)
        pair = (here.stage, there.stage)
        if pair not in alike:
            alike[pair] = _trains(one.stages[here.stage], here.stage) == _trains(other.stages[there.stage], there.stage)
        if not alike[pair] or replace(here, stage=there.stage) != there:
            return step
    return max(first, most)


def _trains(stage: Stage, number: int) -> Stage:
    """A stage without how long it lasts or its layers rise, which steps show, or a rule of growth it does not use."""
    rule = stage.growth if number else GrowthRule()
    if rule.rewarm == "none":
        rule = replace(rule, rewarm_steps=0, rewarm_from=0.0, rewarm_to=1.0)
    return replace(stage, steps=0, rise_steps=0, growth=rule)


def resumed(planned: Schedule, step: int, stage_steps: Sequence[int]) -> Schedule:
    """The schedule that a run goes on under after so many steps, when its stages had these lengths.

    They are planned otherwise where the run has been extended since. Then only the stages that had ended early by that
    step have their lengths from it, and the rest is as planned now.
    """
    if sum(stage_steps) == planned.total_steps:
        return planned.with_stage_steps(stage_steps)
    return ended_early(planned, [end for end in accumulate(stage_steps) if end <= step])


def ended_early(planned: Schedule, ends: Iterable[int]) -> Schedule:
    """A plan whose stages have ended at these steps, where something may end them before they are done."""
    for end in ends:
        number = planned.stage_number(end - 1)
        if planned.stages[number].ends and planned.first_steps[number] + planned.stages[number].steps > end:
            planned = planned.ended_at(end)
    return planned


def would_last_longer(old: Schedule, new: Schedule, step: int, stage_steps: Sequence[int]) -> bool:
    """Whether a stage had ended by a step because the old plan gave it no more steps, where the new one does."""
    return any(
        end <= step and old.stages[number].ends and old.stages[number].steps == taken < new.stages[number].steps
        for number, (taken, end) in enumerate(zip(stage_steps, accumulate(stage_steps), strict=True))
    )
