"""Makes the schedule of a run that starts from another model, or that branches from a step of another run.

A branch follows its recipe's plan from the first step on, but the other run has taken the steps before the branch. So
stages and learning rates keep their steps: a decay planned for step 900 begins at step 900.
"""

from dataclasses import replace

from apollo_ds.errors import UserError
from apollo_ds.models.depth_scale import with_scales_of
from apollo_ds.models.shape import ModelShape, why_not_grown
from apollo_ds.schedule.agreement import ended_early
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.source import BranchPoint, Source
from apollo_ds.schedule.stage import FRESH, GrowthRule, Stage
from data_prep.counted import counted


def begun_from(source: Source, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Return the stages of a run whose first model gets its weights from a source.

    Raises:
        UserError: the source's model is not the run's first model, or the method has a source of its own.
    """
    first = stages[0]
    if first.source:
        raise UserError(
            f"init_from: the method starts from {first.source.name} already; remove either it or method.source"
        )
    if first.feed_forward_rank is not None:
        raise UserError(
            f"init_from: {source.name} has whole feed-forward matrices, and the run's first stage has factors of rank "
            f"{first.feed_forward_rank}; remove feed_forward_rank, or init_from"
        )
    here, there = source.shape, first.shape.model_copy(update={"num_layers": first.unique_layers})
    different = why_not_grown(here, there) or why_not_grown(there, here)
    if not different and here.norm_epsilon != there.norm_epsilon:
        different = f"its norm_epsilon is {here.norm_epsilon:g}, not {there.norm_epsilon:g}"
    if different:
        raise UserError(
            f"init_from: {source.name} is not the run's first model, of {counted(first.unique_layers, 'layer')} of "
            f"{first.shape.hidden_size} units ({different}); name it in method.source for a method that grows it, such "
            "as upscale, or let the run begin with a model of its sizes"
        )
    first = replace(first, growth=GrowthRule())
    begun = replace(first, shape=with_scales_of(first.shape, here), steps=0, ends=None, source=source)
    return begun, first, *stages[1:]


def branched(planned: Schedule, point: BranchPoint) -> Schedule:
    """Return the schedule of a branch: the other run's steps as one stage, then the planned stages after that step.

    If the plan trains a larger model after the branch, the other run's model grows into it by the method's rule.

    Raises:
        UserError: no steps are left to train, or the planned stage cannot follow from the other run's model.
    """
    if point.step >= planned.total_steps:
        raise UserError(
            f"branch_from: {point} is not before the end of this recipe's {planned.total_steps:,} steps; raise `steps`,"
            " which counts from the beginning of the other run"
        )
    planned = ended_early(planned, point.ended)  # as they would have here
    number = planned.stage_number(point.step)
    begins_there = number > 0 and planned.first_steps[number] == point.step
    _check_rate(planned, number, point)
    following = planned.stages[number] if begins_there else _rest(planned, number, point)
    _check_follows(point, following, planned)
    origin = planned.rate_origin(number - 1 if begins_there else number)
    past = replace(
        Stage(following.method, point.step, point.shape, point.layers, point.seq_len),
        shape=following.shape if _is_same(point, following) else point.shape,
        depth_distribution=point.depths,
        shallowest=point.shallowest,
        layer_map=point.layer_map,
        pool=point.pool,
        feed_forward_rank=point.feed_forward_rank,
        frozen=point.frozen,
        tied_gradients=point.tied_gradients,
        learning_rate_origin=origin,
        ends=None if begins_there else following.ends,
        source=point,
    )
    return replace(planned, stages=(past, following, *planned.stages[number + 1 :]))


def _rest(planned: Schedule, number: int, point: BranchPoint) -> Stage:
    """Return the part of the stage after the step at which the branch begins."""
    stage = planned.stages[number]
    taken = point.step - planned.first_steps[number]
    return replace(
        stage,
        steps=stage.steps - taken,
        growth=GrowthRule() if _is_same(point, stage) else replace(stage.growth, rewarm="none"),
        restarts_learning_rate=False,
        learning_rate_rewind=1.0,
    )


def _check_rate(planned: Schedule, number: int, point: BranchPoint) -> None:
    """Refuse a plan in which a growth before the branch changes the learning rate after it.

    The branch has not made that growth, so no parameter in it would have such a rate.
    """
    growth = planned.last_growth(number)
    rule, grew_at = planned.stages[growth].growth, planned.first_steps[growth]
    warm = grew_at + rule.rewarm_steps
    if growth == 0 or rule.rewarm == "none" or grew_at == point.step:
        return
    if rule.rewarm_to != 1:
        raise UserError(
            f"branch_from: step {point.step:,} lies after a growth, and this recipe changes the learning rate after it "
            f"by method.rewarm_to={rule.rewarm_to:g}; branch from step {grew_at:,} or earlier, or give "
            "method.rewarm=none"
        )
    if point.step < warm:
        raise UserError(
            f"branch_from: step {point.step:,} lies where this recipe warms up its learning rate again after a growth; "
            f"branch from step {warm:,} or later, or give method.rewarm=none"
        )


def _is_same(point: BranchPoint, stage: Stage) -> bool:
    """Whether a stage trains the other run's model."""
    return _size(stage.shape, stage.unique_layers) == _size(point.shape, point.layers)


def _size(shape: ModelShape, layers: int) -> ModelShape:
    """Return a shape without the keys that matter for training only."""
    return shape.model_copy(update={"num_layers": layers, "dropout": 0.0, "initializer_range": 1.0})


def _check_follows(point: BranchPoint, following: Stage, planned: Schedule) -> None:
    """Refuse a planned stage that cannot follow from the other run's model."""
    learned = following.learned_growth
    if learned and _size(learned.source, learned.source_layers) != _size(point.shape, point.layers):
        raise UserError(
            f"branch_from: at step {point.step:,} this recipe learns a growth operator for another model than that of "
            f"{point.folder}; branch from a step at which both have the same, or use another method"
        )
    here = point.shape.model_copy(update={"num_layers": point.layers})
    wanted, full = (s.shape.model_copy(update={"num_layers": s.unique_layers}) for s in (following, planned.stages[-1]))
    obstacle = None if learned else why_not_grown(here, wanted)
    if obstacle is None and not point.layers and wanted.num_layers and following.growth.new_layers not in FRESH:
        raise UserError(
            f"branch_from: {point} has no layers yet, and this recipe would make its {wanted.num_layers} from layers "
            "that are there; branch from a step after that run's growth, or grow by method=dpt"
        )
    if obstacle is None:
        return
    fix = "use its model" if why_not_grown(here, full) else "let the method grow before it, or use method=scratch"
    raise UserError(
        f"branch_from: {point} has {counted(point.layers, 'layer')} of {point.shape.hidden_size} units, and this "
        f"recipe plans {wanted.num_layers} of {wanted.hidden_size} there ({obstacle}); {fix}"
    )
