"""Forecast what a recipe needs on a machine: memory, bytes sent, and time at a stated peak and stated bandwidths."""

from dataclasses import dataclass
from typing import Any

from apollo_ds.config.recipe import Recipe
from apollo_ds.planning.host_memory import growing_bytes, saving_bytes, starting_bytes
from apollo_ds.planning.micro_batch import activation_bytes
from apollo_ds.planning.traffic import checkpoint_bytes, growth_bytes, growths, resume_bytes, step_bytes
from apollo_ds.planning.zero import bucket_bytes, stage_bytes, zero_stages


@dataclass(frozen=True)
class Machine:
    """The facts about a machine that a forecast needs."""

    ranks: int
    ranks_per_node: int = 8
    """The most ranks of a node. If there are fewer ranks in all, they share one node."""
    network: float = 50e9
    """The bytes per second that each rank sends, while it receives as many."""
    storage: float = 10e9
    """The bytes per second that all ranks together read from storage."""
    utilisation: float = 0.4
    """The fraction of a rank's peak that the model's own operations reach."""


def forecast(recipe: Recipe, total: dict[str, Any], machine: Machine) -> dict[str, Any]:
    """Memory, bytes and seconds for each ZeRO stage. If the recipe has `peak_flops`, also tokens per second and days.

    `total` comes from `plan`. If a run grows, each figure is of the stage or the growth with the largest value.
    `bf16: auto` counts as bf16. Keys end with their unit: `bytes`, `seconds`, `per_second`.

    Raises:
        UserError: the number of ranks does not divide the global batch.
    """
    ranks = machine.ranks
    recipe = recipe.settled(computes_bf16=True, world_size=ranks)
    by_zero = {str(zero): _under(recipe, zero, machine) for zero in range(4)}
    stages = recipe.schedule().stages
    seconds = total["flops"] / (ranks * recipe.peak_flops * machine.utilisation) if recipe.peak_flops else None
    return {
        "ranks": ranks,
        "ranks_per_node": min(machine.ranks_per_node, ranks),
        "micro_batch": recipe.micro_batch(ranks),
        "sequence_parallel": recipe.sequence_parallel,
        "peak_flops": recipe.peak_flops,
        "utilisation": machine.utilisation,
        "network_bytes_per_second": machine.network,
        "storage_bytes_per_second": machine.storage,
        "checkpoint_bytes": max(checkpoint_bytes(recipe, stages, number) for number in range(len(stages))),
        "memory_bytes": {zero: figures["memory_bytes"] for zero, figures in by_zero.items()},
        "by_zero_stage": by_zero,
        "zero_stages": zero_stages(recipe, stages, ranks),
        "tokens_per_second": total["tokens"] / seconds if seconds else None,
        "days": seconds / 86_400 if seconds else None,
    }


def _under(recipe: Recipe, zero: int, machine: Machine) -> dict[str, Any]:
    """The figures if all stages train under one ZeRO stage. The recipe must be settled."""
    stages, ranks = recipe.schedule().stages, machine.ranks
    on_node, grown = min(machine.ranks_per_node, ranks), growths(stages)
    memory = max(
        stage_bytes(recipe, stage, zero, ranks)
        + bucket_bytes(recipe, stage, zero, ranks)
        + recipe.micro_batch(ranks) * activation_bytes(recipe, stage, stage.evaluation_depth) / recipe.sequence_parallel
        for stage in stages
    )
    sent = max(step_bytes(recipe, stage, zero, ranks) for stage in stages)
    growing = max((growth_bytes(recipe, stages, number, zero, ranks) for number in grown), default=None)
    # A checkpoint is read twice: for its hash, and to load it.
    read = [2 * checkpoint_bytes(recipe, stages, number) for number in range(len(stages))]
    exchanged = [resume_bytes(recipe, stages, number, zero, ranks) for number in range(len(stages))]
    while_growing = max((growing_bytes(recipe, stages, number, zero, ranks) for number in grown), default=None)
    while_saving = max(saving_bytes(recipe, stages, number, zero, ranks) for number in range(len(stages)))
    return {
        "memory_bytes": memory,
        "node_memory_bytes": memory * on_node,
        "node_host_bytes_starting": on_node * max(starting_bytes(recipe, stage, zero, ranks) for stage in stages),
        "node_host_bytes_growing": on_node * while_growing if while_growing is not None else None,
        "node_host_bytes_saving": on_node * while_saving,
        "step_sent_bytes": sent,
        "step_sent_seconds": sent / machine.network,
        "growth_sent_bytes": growing,
        "growth_seconds": growing / machine.network if growing is not None else None,
        "resume_read_bytes": max(read),
        "resume_sent_bytes": max(exchanged),
        "resume_seconds": max(
            size / machine.storage + passed / machine.network for size, passed in zip(read, exchanged, strict=True)
        ),
    }
