"""Plan a run before it is trained: what each stage is, and what it costs."""

from math import prod
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from apollo_ds.config.recipe import Recipe
from apollo_ds.models.depth_scale import residual_scale, scales_in_words
from apollo_ds.models.flops import training_flops
from apollo_ds.planning.all_layers import AllLayers
from apollo_ds.planning.effect import effect_of_growth
from apollo_ds.planning.in_words import flops_in_words
from apollo_ds.planning.stage_size import parameters_of, trained_of
from apollo_ds.planning.step_flops import expected_step_flops
from apollo_ds.schedule.source import BranchPoint, Source, SourceModel
from apollo_ds.schedule.stage import Stage
from data_prep.counted import counted

_WIDEST = 100


def plan(recipe: Recipe) -> dict[str, Any]:
    """The stages and totals of a recipe, as `plan --json` prints them. Operations count forward and backward passes."""
    schedule = recipe.schedule()
    costs = [expected_step_flops(schedule, number) for number in range(len(schedule.stages))]
    own_steps = [0 if stage.source else stage.steps for stage in schedule.stages]
    total = sum(cost * steps for cost, steps in zip(costs, own_steps, strict=True))
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
            "pool": stage.pool,
            "intermediate_size": stage.shape.intermediate_size,
            "feed_forward_rank": stage.feed_forward_rank,
            "expected_depth": schedule.expected_depth(number),
            "residual_scale": residual_scale(stage.shape, stage.evaluation_depth),
            "parameters": parameters_of(stage),
            "trainable_parameters": _trainable_parameters(stage),
            "flops_per_step": cost,
            "flops_share": cost * own_steps[number] / total,
            "may_end_early": stage.ends is not None and stage.source is None,
            "function": effect_of_growth(schedule.stages, number),
        }
        for number, (stage, cost) in enumerate(zip(schedule.stages, costs, strict=True))
    ]
    return {
        "total": {
            "steps": sum(own_steps),
            "tokens": sum(steps * stage.seq_len for steps, stage in zip(own_steps, schedule.stages, strict=True))
            * recipe.global_batch_size,
            "flops": total,
            "scratch_flops": full_step * sum(own_steps),
            "source_flops": _spent_before(schedule.source),
        },
        "stages": stages,
    }


def _trainable_parameters(stage: Stage) -> int:
    if stage.learned_growth:
        from apollo_ds.growth.learned import operator_of

        return sum(prod(shape) for shape in operator_of(stage.learned_growth, stage).coefficient_shapes.values())
    return trained_of(stage)


def print_plan(recipe: Recipe, console: Console) -> None:
    """Print the plan of a recipe as a table for people."""
    result = plan(recipe)
    shape, total, schedule = recipe.model, result["total"], recipe.schedule()
    console.print(
        f"[bold]{recipe.method.name}[/]  {shape.family} {shape.num_layers}x{shape.hidden_size}, vocabulary "
        f"{shape.vocab_size:,}, length {recipe.seq_len}, batch {recipe.global_batch_size}, "
        f"{counted(recipe.steps, 'step')}"
        f"{''.join(f', {words}' for words in (*_optimizer_in_words(recipe), *scales_in_words(shape)))}"
    )
    width = console.width
    console.width = max(width, _WIDEST)  # let the terminal wrap a line rather than cut a number
    changing = [key for key in ("hidden", "length") if len({_sizes(stage)[key] for stage in result["stages"]}) > 1]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    shown = ("#", "from", "steps", "layers", *changing, "trained", "depth", "cost", *(() if changing else ("share",)))
    for heading in shown:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("function", overflow="fold")  # never cut: it may name a value that the recipe needs
    full_step = total["scratch_flops"] / total["steps"]
    for stage in result["stages"]:
        table.add_row(
            str(stage["stage"] + 1),
            f"{stage['first_step']:,}",
            f"{'<= ' if stage['may_end_early'] else ''}{stage['steps']:,}",
            str(stage["unique_layers"]),
            *(_sizes(stage)[key] for key in changing),
            f"{stage['trainable_parameters'] / 1e6:.1f} M",
            f"{stage['expected_depth']:.2f}",
            f"{stage['flops_per_step'] / full_step:.1%}",
            *(() if changing else (f"{stage['flops_share']:.1%}",)),
            stage["function"],
        )
    console.print(table)
    console.width = width
    console.print(
        f"{result['stages'][-1]['parameters']:,} parameters, {_tokens(total['tokens'])}, "
        f"{flops_in_words(total['flops'])}.\n{_beside_all_layers(recipe, total)}"
        f"{_with_source(schedule.source, total)}[dim]{_legend(result['stages'])}[/]"
    )


def _legend(stages: list[dict[str, Any]]) -> str:
    """What the columns mean, and the terms in them that this plan has."""
    told = "trained: parameters that train. depth: layers that a step runs, on average.\n"
    told += "cost: of a step with all layers."
    if len(stages) > 1:
        told += " function: whether the growth changes what the\nmodel computes."
    if any(" | " in stage["function"] for stage in stages):
        told += " (1 | 3): 1 divides 3, so copies of shared layers change nothing."
    return told


def _optimizer_in_words(recipe: Recipe) -> list[str]:
    """The optimizer's name, unless it is the default one."""
    name = recipe.optimizer.name
    return [] if name == type(recipe).model_fields["optimizer"].default.name else [name]


def _tokens(count: int) -> str:
    return f"{count / 1e9:.3g} G tokens" if count >= 1e8 else f"{count:,} tokens"


def _spent_before(source: Source | BranchPoint | None) -> float:
    """The operations that were spent on what the run starts from, as far as they are known."""
    if source is None:
        return 0.0
    return source.before.flops + (source.spent.flops if isinstance(source, BranchPoint) else 0.0)


def _beside_all_layers(recipe: Recipe, total: dict[str, Any]) -> str:
    """Compare the run's own cost with that of all layers at full length, in as many steps and on as many tokens."""
    if total["flops"] == total["scratch_flops"]:
        return ""
    steps = f"{total['flops'] / total['scratch_flops']:.1%}"
    whole = AllLayers.of_model(recipe.model, recipe.seq_len, 0.0)
    tokens = f"{whole.share(total['flops'], total['tokens']):.1%}"
    told = f"That is {steps} of what all {whole.layers} layers cost in as many steps"
    return f"{told}.\n" if steps == tokens else f"{told}, and {tokens} on as many tokens.\n"


def _with_source(source: Source | BranchPoint | None, total: dict[str, Any]) -> str:
    """A line on the cost with that of the source, if the run starts from one."""
    if source is None:
        return ""
    if isinstance(source, SourceModel):
        return f"What {source} has cost is not known, and not counted; the optimizer is a fresh one.\n"
    if isinstance(source, BranchPoint):
        return f"It goes on from {source}, which has spent {flops_in_words(total['source_flops'])}.\n"
    share = (total["flops"] + total["source_flops"]) / total["scratch_flops"]
    spent = flops_in_words(total["source_flops"])
    return f"Counting the source's {spent} ({source}): {share:.1%} in as many steps.\n"


def _sizes(stage: dict[str, Any]) -> dict[str, str]:
    """The cells that the table shows only if they change: hidden size / feed-forward width, and sequence length.

    768/3072 r150 means that feed-forward matrices are held as factors of rank 150. 128/4 means a length of 128, of
    which the layers see a quarter: each of their positions is the mean of 4 tokens.
    """
    rank = f" r{stage['feed_forward_rank']}" if stage["feed_forward_rank"] else ""
    length = str(stage["seq_len"]) if stage["pool"] == 1 else f"{stage['seq_len']}/{stage['pool']}"
    return {"hidden": f"{stage['hidden_size']}/{stage['intermediate_size']}{rank}", "length": length}
