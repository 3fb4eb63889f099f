"""What a recipe asks of a machine: memory a rank at each ZeRO stage, and time at a stated utilisation."""

from typing import Any

from apollo_ds.cost import parameters
from apollo_ds.deepspeed_config import precision
from apollo_ds.micro_batch import activation_bytes
from apollo_ds.recipe import Recipe

_WEIGHT_BYTES = 4
_MOMENT_BYTES = 8
"""Of a parameter in fp32, and of Adam's two moments."""


def state_bytes(parameter_count: int, zero_stage: int, ranks: int, bytes_a_number: int) -> float:
    """Weights, gradients and optimizer of one rank: ZeRO 1 parts the last, 2 gradients too, 3 weights too."""
    weights = gradients = bytes_a_number * parameter_count
    trains_in_place = zero_stage == 0 and bytes_a_number == _WEIGHT_BYTES  # else the optimizer has weights of its own
    optimizer = (_MOMENT_BYTES if trains_in_place else _WEIGHT_BYTES + _MOMENT_BYTES) * parameter_count
    return (
        weights / (ranks if zero_stage >= 3 else 1)
        + gradients / (ranks if zero_stage >= 2 else 1)
        + optimizer / (ranks if zero_stage >= 1 else 1)
    )


def forecast(
    recipe: Recipe, total: dict[str, Any], ranks: int, peak_flops: float, utilisation: float
) -> dict[str, Any]:
    """Memory a rank in the greatest stage by ZeRO stage, in bytes; tokens a second and days of the whole run.

    `total` is that of `plan`. `peak_flops` is one rank's; `utilisation` the part of it that the model's own operations
    reach. Logits, buffers, fragments and evaluation come on top.

    Raises:
        UserError: the number of ranks does not divide the global batch.
    """
    bytes_a_number = 4 if precision(recipe.deepspeed) == "fp32" else 2
    micro_batch = recipe.micro_batch(ranks)
    seconds = total["flops"] / (ranks * peak_flops * utilisation)
    return {
        "ranks": ranks,
        "micro_batch": micro_batch,
        "peak_flops": peak_flops,
        "utilisation": utilisation,
        "memory_bytes": {
            str(zero_stage): max(
                state_bytes(parameters(stage.shape, stage.unique_layers), zero_stage, ranks, bytes_a_number)
                + micro_batch * activation_bytes(recipe, stage, stage.evaluation_depth)
                for stage in recipe.schedule().stages
            )
            for zero_stage in range(4)
        },
        "tokens_per_second": total["tokens"] / seconds,
        "days": seconds / 86_400,
    }


def in_words(result: dict[str, Any]) -> str:
    """A forecast for people."""
    memory = ", ".join(f"{stage}: {size / 1e9:.1f} GB" for stage, size in result["memory_bytes"].items())
    return (
        f"{result['ranks']} ranks at {result['utilisation']:.0%} of {result['peak_flops'] / 1e12:.0f} TFLOP/s: "
        f"{result['tokens_per_second'] / 1e6:.2f} M tokens/s, {result['days']:.2f} days.\n"
        f"Memory a rank by ZeRO stage, {result['micro_batch']} samples at once (estimated): {memory}."
    )
