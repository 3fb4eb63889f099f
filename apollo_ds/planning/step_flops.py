"""Compute the operations of steps. In a stage that learns a growth operator, making the weights counts too."""

from apollo_ds.models.flops import training_flops
from apollo_ds.schedule.schedule import Schedule, StepPlan
from apollo_ds.schedule.stage import Stage


def step_flops(schedule: Schedule, plan: StepPlan) -> float:
    """The operations of one step on the whole global batch, forward and backward."""
    stage = schedule.stages[plan.stage]
    return _flops(stage, plan.depth, plan.first_trained, schedule.global_batch_size)


def expected_step_flops(schedule: Schedule, number: int) -> float:
    """The mean operations of a step of a stage, over the depths that it draws."""
    stage = schedule.stages[number]
    return sum(
        chance * _flops(stage, schedule.executed(number, depth), stage.first_trained(depth), schedule.global_batch_size)
        for depth, chance in stage.depths()
    )


def remaining_flops(schedule: Schedule, step: int) -> float:
    """The mean operations of all steps from this one on, together."""
    return sum(
        max(0, first + stage.steps - max(first, step)) * expected_step_flops(schedule, number)
        for number, (first, stage) in enumerate(zip(schedule.first_steps, schedule.stages, strict=True))
    )


def _flops(stage: Stage, depth: float, first_trained: int, samples: int) -> float:
    if stage.learned_growth:
        from apollo_ds.growth.learned import operator_of  # imports torch, which most recipes do not need
        from apollo_ds.growth.learned.cost import learning_flops

        return learning_flops(operator_of(stage.learned_growth, stage), stage.seq_len, samples)
    held = (stage.frozen, stage.pool, stage.feed_forward_rank)
    return training_flops(stage.shape, depth, stage.seq_len, samples, first_trained, *held)
