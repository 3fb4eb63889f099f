"""The schedule before anything is spent: what each stage is, and what it costs."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from apollo_ds.cost import parameters, training_flops
from apollo_ds.recipe import Recipe


def plan(recipe: Recipe) -> dict[str, Any]:
    """Stages and totals of a recipe, as `plan --json` prints them. Operations are of forward and backward."""
    schedule = recipe.schedule()
    costs = [schedule.expected_flops_per_step(stage) for stage in schedule.stages]
    total = sum(cost * stage.steps for cost, stage in zip(costs, schedule.stages, strict=True))
    full_step = training_flops(recipe.model, recipe.model.num_layers, recipe.seq_len, recipe.global_batch_size)
    stages = [
        {
            "stage": number,
            "method": stage.method,
            "first_step": schedule.first_steps[number],
            "steps": stage.steps,
            "unique_layers": stage.unique_layers,
            "hidden_size": stage.shape.hidden_size,
            "seq_len": stage.seq_len,
            "expected_depth": stage.expected_depth,
            "parameters": parameters(stage.shape, stage.unique_layers),
            "trainable_parameters": parameters(stage.shape, stage.unique_layers),
            "flops_per_step": cost,
            "flops_share": cost * stage.steps / total,
            "growth_map": stage.growth.layer_map,
        }
        for number, (stage, cost) in enumerate(zip(schedule.stages, costs, strict=True))
    ]
    return {
        "total": {
            "steps": schedule.total_steps,
            "tokens": sum(stage.steps * stage.seq_len for stage in schedule.stages) * recipe.global_batch_size,
            "flops": total,
            "scratch_flops": full_step * schedule.total_steps,
        },
        "stages": stages,
    }


def show(recipe: Recipe, console: Console) -> None:
    """Print the plan as a table for a person."""
    result = plan(recipe)
    shape, total = recipe.model, result["total"]
    console.print(
        f"[bold]{recipe.method.name}[/]  {shape.family} {shape.num_layers}x{shape.hidden_size}, vocabulary "
        f"{shape.vocab_size:,}, length {recipe.seq_len}, batch {recipe.global_batch_size}, {recipe.steps:,} steps"
    )
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("#", "from", "steps", "layers", "params", "depth", "cost", "share"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("full-depth function", no_wrap=True)
    full_step = total["scratch_flops"] / total["steps"]
    before = None
    for stage in result["stages"]:
        table.add_row(
            str(stage["stage"] + 1),
            f"{stage['first_step']:,}",
            f"{stage['steps']:,}",
            str(stage["unique_layers"]),
            f"{stage['parameters'] / 1e6:.1f} M",
            f"{stage['expected_depth']:.2f}",
            f"{stage['flops_per_step'] / full_step:.1%}",
            f"{stage['flops_share']:.1%}",
            _effect_of_growth(before, stage),
        )
        before = stage
    console.print(table)
    console.print(
        f"{total['tokens'] / 1e9:.3g} G tokens, {total['flops']:.4g} FLOPs: "
        f"{total['flops'] / total['scratch_flops']:.1%} of what the same steps cost from scratch.\n"
        "[dim]depth: mean layers run; cost: of a full-depth step; a | b: a divides b, so growth is exact.[/]"
    )


def _effect_of_growth(before: dict[str, Any] | None, stage: dict[str, Any]) -> str:
    if before is None:
        return "initialised"
    old, new = before["unique_layers"], stage["unique_layers"]
    if stage["growth_map"] == "interpolate" and new % old == 0:
        return f"unchanged ({old} | {new})"
    return f"changed ({stage['growth_map']})"
