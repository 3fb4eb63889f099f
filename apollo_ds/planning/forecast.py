"""What a recipe asks of a machine: memory a rank at each ZeRO stage, and time at a stated utilisation."""

from typing import Any

from apollo_ds.config.deepspeed import settle
from apollo_ds.config.recipe import Recipe
from apollo_ds.planning.micro_batch import activation_bytes
from apollo_ds.planning.zero import bucket_bytes, stage_bytes, zero_stages


def forecast(
    recipe: Recipe, total: dict[str, Any], ranks: int, peak_flops: float, utilisation: float
) -> dict[str, Any]:
    """Memory a rank in the greatest stage by ZeRO stage, in bytes; tokens a second and days of the whole run.

    `total` is that of `plan`. `peak_flops` is one rank's; `utilisation` the part of it that the model's own operations
    reach. Logits, fragments and evaluation come on top. `bf16: auto` is taken for bf16.

    Raises:
        UserError: the number of ranks does not divide the global batch.
    """
    recipe = recipe.model_copy(update={"deepspeed": settle(recipe.deepspeed, computes_bf16=True, world_size=ranks)})
    stages = recipe.schedule().stages
    micro_batch = recipe.micro_batch(ranks)
    seconds = total["flops"] / (ranks * peak_flops * utilisation)
    return {
        "ranks": ranks,
        "micro_batch": micro_batch,
        "peak_flops": peak_flops,
        "utilisation": utilisation,
        "memory_bytes": {
            str(zero_stage): max(
                stage_bytes(recipe, stage, zero_stage, ranks)
                + bucket_bytes(recipe, stage, zero_stage, ranks)
                + micro_batch * activation_bytes(recipe, stage, stage.evaluation_depth)
                for stage in stages
            )
            for zero_stage in range(4)
        },
        "zero_stages": zero_stages(recipe, stages, ranks),
        "tokens_per_second": total["tokens"] / seconds,
        "days": seconds / 86_400,
    }


def forecast_in_words(result: dict[str, Any]) -> str:
    """A forecast for people."""
    memory = ", ".join(f"{stage}: {size / 1e9:.1f} GB" for stage, size in result["memory_bytes"].items())
    zero = "-".join(str(stage) for stage in result["zero_stages"])
    return (
        f"{result['ranks']} ranks at {result['utilisation']:.0%} of {result['peak_flops'] / 1e12:.0f} TFLOP/s: "
        f"{result['tokens_per_second'] / 1e6:.2f} M tokens/s, {result['days']:.2f} days.\n"
        f"Memory a rank by ZeRO stage, {result['micro_batch']} samples at once (estimated): {memory}. "
        f"Stages train under ZeRO {zero}."
    )
