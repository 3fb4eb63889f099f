"""Finds the step up to which two schedules agree. A run can change from one to the other up to that step."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.stage import GrowthRule, Stage


def trained_alike(old: Schedule, new: Schedule, step: int, stage_steps: Sequence[int]) -> bool:
    """Whether the steps before `step` are the same under both schedules, in a run whose stages had these lengths.

    A stage that ends early may change learning rates, but only after its end.
    """
    ends = [end for end in accumulate(stage_steps) if end <= step]
    parts = enumerate(pairwise([0, *ends, step]))
    return not would_last_longer(old, new, step, stage_steps) and all(
        steps_alike(ended_early(old, ends[:number]), ended_early(new, ends[:number]), last, first) >= last
        for number, (first, last) in parts
    )


def steps_alike(one: Schedule, other: Schedule, most: int, first: int = 0) -> int:
    """Return the end of the range of equal steps that begins at `first`; it is `most` at most."""
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
    """Return a stage without its length and rise, which its steps show, and without growth options that it ignores."""
    rule = stage.growth if number else GrowthRule()
    if rule.rewarm == "none":
        rule = replace(rule, rewarm_steps=0, rewarm_from=0.0, rewarm_to=1.0)
    return replace(stage, steps=0, rise_steps=0, growth=rule)


def resumed(planned: Schedule, step: int, stage_steps: Sequence[int]) -> Schedule:
    """Return the schedule of a run that resumes at `step`; its stages had the lengths `stage_steps` before.

    If the run has been extended since, the plan has other lengths. Then stages that had ended early by that step keep
    their lengths, and all others have the planned ones.
    """
    if sum(stage_steps) == planned.total_steps:
        return planned.with_stage_steps(stage_steps)
    return ended_early(planned, [end for end in accumulate(stage_steps) if end <= step])


def ended_early(planned: Schedule, ends: Iterable[int]) -> Schedule:
    """Return the plan with stages that end at the steps `ends`; only stages that may end early are changed."""
    for end in ends:
        number = planned.stage_number(end - 1)
        if planned.stages[number].ends and planned.first_steps[number] + planned.stages[number].steps > end:
            planned = planned.ended_at(end)
    return planned


def would_last_longer(old: Schedule, new: Schedule, step: int, stage_steps: Sequence[int]) -> bool:
    """Whether, by `step`, a stage had used up its steps under the old plan and has more steps under the new one."""
    return any(
        end <= step and old.stages[number].ends and old.stages[number].steps == taken < new.stages[number].steps
        for number, (taken, end) in enumerate(zip(stage_steps, accumulate(stage_steps), strict=True))
    )
