"""Compute the host memory that a rank takes while a run starts or is resumed, grows, and saves.

Python and its libraries are not counted. They take about 1 GB a rank, and the ranks of a node share some of it. The
system's cache of files is not counted either: the system frees it when memory is short.
"""

from collections.abc import Sequence

from apollo_ds.config.deepspeed import offloaded, precision
from apollo_ds.config.recipe import Recipe
from apollo_ds.models.families import family_of
from apollo_ds.planning.optimizer_state import moment_bytes
from apollo_ds.planning.stage_size import parameters_of, trained_of
from apollo_ds.planning.traffic import checkpoint_bytes
from apollo_ds.schedule.stage import Stage

_FP32_BYTES = 4


def starting_bytes(recipe: Recipe, stage: Stage, zero: int, ranks: int) -> float:
    """The bytes of one rank while a stage's weights are drawn or read, piece by piece. A rank keeps its part of each.

    A piece is a layer or the token embedding, whichever is larger, in fp32. What is offloaded is added. The recipe's
    DeepSpeed configuration must be settled.
    """
    return _largest_piece(stage) + _offloaded_bytes(recipe, stage, zero, ranks)


def growing_bytes(recipe: Recipe, stages: Sequence[Stage], number: int, zero: int, ranks: int) -> float:
    """The bytes of one rank during a growth: its part of the old state, and the bytes to start the new stage.

    The part is what the rank would write into a checkpoint. At ZeRO 0, too, each rank copies an equal share. Then one
    tensor after the other is gathered whole on the device.
    """
    captured = checkpoint_bytes(recipe, stages, number - 1) / ranks
    return captured + starting_bytes(recipe, stages[number], zero, ranks)


def saving_bytes(recipe: Recipe, stages: Sequence[Stage], number: int, zero: int, ranks: int) -> float:
    """The bytes of one rank while a checkpoint is written: a copy of its part of the state, since training goes on."""
    return checkpoint_bytes(recipe, stages, number) / ranks + _offloaded_bytes(recipe, stages[number], zero, ranks)


def _largest_piece(stage: Stage) -> int:
    family, shape = family_of(stage.shape), stage.shape
    return _FP32_BYTES * max(family.layer_parameters(shape), shape.vocab_size * shape.hidden_size)


def _offloaded_bytes(recipe: Recipe, stage: Stage, zero: int, ranks: int) -> float:
    """The bytes of a rank that offloading keeps in the host's memory all the time.

    For a trained parameter these are its fp32 weight, its moments, and their gradient. If weights are offloaded at ZeRO
    3, they are added.
    """
    parts, number = offloaded(recipe.deepspeed), 4 if precision(recipe.deepspeed) == "fp32" else 2
    trained = trained_of(stage)
    size = 0.0
    if zero >= 1 and "offload_optimizer" in parts:
        size += (2 * _FP32_BYTES * trained + moment_bytes(recipe, stage)) / ranks
    if zero >= 3 and "offload_param" in parts:
        size += number * parameters_of(stage) / ranks
    return size
