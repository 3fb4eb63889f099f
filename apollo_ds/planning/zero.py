"""Compute what a rank keeps under each ZeRO stage, and choose the ZeRO stage of each stage of a run."""

from collections.abc import Collection, Sequence

from apollo_ds.config.deepspeed import bucket_elements, offloaded, offloads, precision, with_zero_stage, zero_stage
from apollo_ds.config.recipe import Recipe
from apollo_ds.planning.optimizer_state import moment_bytes
from apollo_ds.planning.stage_size import parameters_of, trained_of
from apollo_ds.schedule.stage import Stage

_WEIGHT_BYTES = 4
_ADAM_BYTES = 8
"""The bytes of a parameter in fp32, and of Adam's two moments for it."""


def state_bytes(
    parameter_count: int,
    trained: int,
    zero_stage: int,
    ranks: int,
    bytes_a_number: int,
    on_host: Collection[str] = (),
    moments: float | None = None,
) -> float:
    """The bytes of a rank for all weights, and for the gradients and the optimizer of the trained ones.

    ZeRO 1 shards the optimizer, 2 also the gradients, 3 also the weights. `on_host` has DeepSpeed's keys (`offloaded`)
    for what is in the host's memory: the optimizer from ZeRO 1 on, weights at 3. `moments` is the size of all moments
    in bytes. The default is that of AdamW.
    """
    weights, gradients = bytes_a_number * parameter_count, bytes_a_number * trained
    trains_in_place = (
        zero_stage == 0 and bytes_a_number == _WEIGHT_BYTES
    )  # otherwise the optimizer has its own copy of the weights
    remembered = _ADAM_BYTES * trained if moments is None else moments
    optimizer = remembered + (0 if trains_in_place else _WEIGHT_BYTES * trained)
    if zero_stage >= 1 and "offload_optimizer" in on_host:
        optimizer = 0
    if zero_stage >= 3 and "offload_param" in on_host:
        weights = 0
    return (
        weights / (ranks if zero_stage >= 3 else 1)
        + gradients / (ranks if zero_stage >= 2 else 1)
        + optimizer / (ranks if zero_stage >= 1 else 1)
    )


def stage_bytes(recipe: Recipe, stage: Stage, zero: int, ranks: int) -> float:
    """`state_bytes` of a stage. The recipe's DeepSpeed configuration must be settled.

    With hpZ (ZeRO++, Wang et al. 2023) each group of ranks also has a copy of all weights, an equal part on each rank.
    """
    all_parameters = parameters_of(stage)
    on_host, number = offloaded(recipe.deepspeed), _bytes_a_number(recipe)
    group = recipe.deepspeed.get("zero_optimization", {}).get("zero_hpz_partition_size", 1)
    copied = number * all_parameters / min(group, ranks) if zero == 3 and group > 1 else 0
    moments = moment_bytes(recipe, stage)
    return state_bytes(all_parameters, trained_of(stage), zero, ranks, number, on_host, moments) + copied


def bucket_bytes(recipe: Recipe, stage: Stage, zero: int, ranks: int) -> int:
    """The bytes of a rank's buffers for averaging gradients. The recipe's DeepSpeed configuration must be settled."""
    config = with_zero_stage(recipe.deepspeed, zero)
    return bucket_elements(config, trained_of(stage), ranks) * _bytes_a_number(recipe)


def _bytes_a_number(recipe: Recipe) -> int:
    return 4 if precision(recipe.deepspeed) == "fp32" else 2


def zero_stages(recipe: Recipe, stages: Sequence[Stage], ranks: int) -> list[int]:
    """The ZeRO stage of each stage of a run. It is that of `deepspeed`, or with `zero_by_stage` the lowest that fits.

    A ZeRO stage fits if a rank's state is not larger than in the largest stage under `deepspeed`. On a single rank,
    which shards nothing, all of them fit. A stage that learns a growth operator keeps that of `deepspeed`, because it
    trains other parameters than its shape has. In half precision no stage goes below 1: there DeepSpeed 0.19.8 copies
    each parameter by itself, and makes the host wait for the device in every step.
    """
    stated = zero_stage(recipe.deepspeed)
    if not recipe.zero_by_stage or offloads(recipe.deepspeed):
        return [stated] * len(stages)
    lowest = 0 if precision(recipe.deepspeed) == "fp32" else 1
    room = max(stage_bytes(recipe, stage, stated, ranks) for stage in stages)

    def fitting(stage: Stage) -> int:
        lower = () if stage.learned_growth else range(lowest, stated)
        return next((zero for zero in lower if stage_bytes(recipe, stage, zero, ranks) <= room), stated)

    return [fitting(stage) for stage in stages]


def under_zero(recipe: Recipe, zero: int) -> Recipe:
    """The recipe with another ZeRO stage in its DeepSpeed configuration."""
    return recipe.model_copy(update={"deepspeed": with_zero_stage(recipe.deepspeed, zero)})
