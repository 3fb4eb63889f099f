"""The schedule of a run that starts from another model, or goes on from a step of another run.

A branch is the run that its recipe plans from the start, except that the steps before the branch are the other run's.
So its stages and its learning rate are where they would be, and a decay planned for step 900 comes at step 900.
"""

from dataclasses import replace

from apollo_ds.errors import UserError
from apollo_ds.models.depth_scale import with_scales_of
from apollo_ds.models.shape import ModelShape, why_not_grown
from apollo_ds.schedule.agreement import ended_early
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.source import BranchPoint, Source
from apollo_ds.schedule.stage import GrowthRule, Stage


def begun_from(source: Source, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The stages of a run whose first model has its weights from a source.

    Raises:
        UserError: that is another model, or the method has a source of its own.
    """
    first = stages[0]
    if first.source:
        raise UserError(
            f"init_from: the method starts from {first.source.name} already; remove either it or method.source"
        )
    here, there = source.shape, first.shape.model_copy(update={"num_layers": first.unique_layers})
    different = why_not_grown(here, there) or why_not_grown(there, here)
    if not different and here.norm_epsilon != there.norm_epsilon:
        different = f"its norm_epsilon is {here.norm_epsilon:g}, not {there.norm_epsilon:g}"
    if different:
        raise UserError(
            f"init_from: {source.name} is not the run's first model, of {first.unique_layers} layers of "
            f"{first.shape.hidden_size} units ({different}); name it in method.source for a method that grows it, such "
            "as upscale, or let the run begin with a model of its sizes"
        )
    first = replace(first, growth=GrowthRule())
    begun = replace(first, shape=with_scales_of(first.shape, here), steps=0, ends=None, source=source)
    return begun, first, *stages[1:]


def branched(planned: Schedule, point: BranchPoint) -> Schedule:
    """The schedule of a branch: the other run's steps as one stage, and what is planned for the steps after them.

    Where the plan trains a larger model there, the other run's grows into it by the method's own rule.

    Raises:
        UserError: nothing is left to train, or what is planned there cannot follow from the other run's model.
    """
    if point.step >= planned.total_steps:
        raise UserError(
            f"branch_from: {point} is not before the end of this recipe's {planned.total_steps:,} steps; raise `steps`,"
            " which counts from the beginning of the other run"
        )
    planned = ended_early(planned, point.ended)  # as they would have here
    number = planned.stage_number(point.step)
    begins_there = number > 0 and planned.first_steps[number] == point.step
    following = planned.stages[number] if begins_there else _rest(planned, number, point)
    _check_follows(point, following, planned)
    origin = planned.rate_origin(number - 1 if begins_there else number)
    past = replace(
        Stage(following.method, point.step, point.shape, point.layers, point.seq_len),
        shape=following.shape if _is_same(point, following) else point.shape,
        depth_distribution=point.depths,
        shallowest=point.shallowest,
        layer_map=point.layer_map,
        frozen=point.frozen,
        tied_gradients=point.tied_gradients,
        learning_rate_origin=origin,
        ends=None if begins_there else following.ends,
        source=point,
    )
    return replace(planned, stages=(past, following, *planned.stages[number + 1 :]))


def _rest(planned: Schedule, number: int, point: BranchPoint) -> Stage:
    """What is left of the stage that the branch begins within."""
    stage, rule = planned.stages[number], planned.stages[number].growth
    taken = point.step - planned.first_steps[number]
    if number and rule.rewarm != "none" and taken < rule.rewarm_steps:
        raise UserError(
            f"branch_from: step {point.step:,} lies where this recipe warms up its learning rate again after a growth; "
            f"branch from step {planned.first_steps[number] + rule.rewarm_steps:,} or later, or give method.rewarm=none"
        )
    return replace(
        stage,
        steps=stage.steps - taken,
        growth=GrowthRule() if _is_same(point, stage) else replace(rule, rewarm="none"),
        restarts_learning_rate=False,
        learning_rate_rewind=1.0,
    )


def _is_same(point: BranchPoint, stage: Stage) -> bool:
    """Whether a stage trains the other run's model."""
    return _size(stage.shape, stage.unique_layers) == _size(point.shape, point.layers)


def _size(shape: ModelShape, layers: int) -> ModelShape:
    """A shape without what decides how it is trained only."""
    return shape.model_copy(update={"num_layers": layers, "dropout": 0.0, "initializer_range": 1.0})


def _check_follows(point: BranchPoint, following: Stage, planned: Schedule) -> None:
    """Look for what keeps a planned stage from following the other run's model."""
    learned = following.learned_growth
    if learned and _size(learned.source, learned.source_layers) != _size(point.shape, point.layers):
        raise UserError(
            f"branch_from: at step {point.step:,} this recipe learns a growth operator for another model than that of "
            f"{point.folder}; branch from a step at which both have the same, or use another method"
        )
    here = point.shape.model_copy(update={"num_layers": point.layers})
    wanted, full = (s.shape.model_copy(update={"num_layers": s.unique_layers}) for s in (following, planned.stages[-1]))
    obstacle = None if learned else why_not_grown(here, wanted)
    if obstacle is None:
        return
    fix = "use its model" if why_not_grown(here, full) else "let the method grow before it, or use method=scratch"
    raise UserError(
        f"branch_from: {point} has {point.layers} layers of {point.shape.hidden_size} units, and this recipe plans "
        f"{wanted.num_layers} of {wanted.hidden_size} there ({obstacle}); {fix}"
    )
