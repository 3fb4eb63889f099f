"""Make the tables of a comparison."""

from collections.abc import Sequence
from statistics import fmean

from apollo_ds.experiments.compare.groups import Group, differing, mean_cost
from apollo_ds.experiments.compare.measures import (
    BUDGETS,
    AtBudget,
    Reach,
    Target,
    at_budget,
    costs_to_reach,
    saving,
    source_cost,
    speed_up,
)
from apollo_ds.experiments.compare.stages import savings_ratio, stage_parts
from apollo_ds.experiments.compare.text import (
    NOTHING,
    Table,
    flops_spread,
    loss_spread,
    loss_text,
    percent_spread,
    seconds_spread,
    tokens_spread,
)
from apollo_ds.experiments.history import Cost, RunHistory


def runs_table(groups: Sequence[Group]) -> Table:
    """The table of recipes with their results and costs."""
    headings = ("recipe", "seeds", "state", "steps", "final held-out loss", "FLOPs", "tokens", "seconds")
    return Table(headings, [_runs_row(group) for group in groups])


def _runs_row(group: Group) -> list[str]:
    finals = [run.final for run in group.shown]
    return [
        group.name,
        ", ".join(str(run.seed) for run in group.runs),
        _state(group),
        f"{fmean(final.step for final in finals):,.0f}",
        loss_spread([final.loss for final in finals]) + ("" if group.finished else " so far"),
        flops_spread([final.cost.flops for final in finals]),
        tokens_spread([final.cost.tokens for final in finals]),
        seconds_spread([final.cost.seconds for final in finals]),
    ]


def _state(group: Group) -> str:
    unfinished = [run for run in group.runs if not run.finished]
    if not unfinished:
        return "finished"
    told = "; ".join(f"seed {run.seed} {run.state}" for run in unfinished)
    return told if len(group.runs) > 1 else unfinished[0].state


def differences_table(groups: Sequence[Group]) -> Table | None:
    """The table of keys, beside the method, in which the recipes differ. None if there are none."""
    keys = differing(groups)
    if not keys:
        return None
    rows = [[f"`{key}`", *(str(value) for value in values)] for key, values in keys.items()]
    return Table(("key", *(group.name for group in groups)), rows)


_REACH = ("FLOPs", "saving S", "speed-up U", "tokens", "seconds", "S of time", "U of time", "wall / FLOPs saving")


def reach_table(groups: Sequence[Group], baseline: Group, target: Target) -> Table:
    """The table of each recipe's cost to reach the baseline's final loss."""
    rows = []
    for group in groups:
        if group is baseline:
            own = target.cost
            costs = [f"{own.flops:.4g}", NOTHING, NOTHING, f"{own.tokens:,.0f}", f"{own.seconds:,.0f}"]
            rows.append([f"{group.name} (baseline)", "sets it", *costs, NOTHING, NOTHING, NOTHING])
            continue
        reaches = [Reach.of(run, target.loss) for run in group.shown]
        reached = _reached(reaches, target.loss)
        costs_of_all = costs_to_reach(group, target)
        if costs_of_all is None:
            rows.append([group.name, reached, *[NOTHING] * len(_REACH)])
            continue
        rows.append([group.name, reached, *_savings(costs_of_all, target.cost)])
        if any(run.source for run in group.shown):
            with_source = [cost + source_cost(run) for cost, run in zip(costs_of_all, group.shown, strict=True)]
            savings = _savings(with_source, target.cost + target.source)
            rows.append([f"{group.name}, counting its source", reached, *savings])
    return Table(("recipe", "reached by", *_REACH), rows)


def _reached(reaches: Sequence[Reach], loss: float) -> str:
    missing = [reach.run for reach in reaches if reach.cost is None]
    note = "†" if any(reach.ends_above for reach in reaches) else ""
    count = f"{len(reaches) - len(missing)} of {len(reaches)}{note}"
    if not missing:
        return count
    best = f"best {loss_text(min(run.best_loss for run in missing))}"
    if len(missing) < len(reaches):
        return f"{count} (others: {best})"
    return f"never ({best})" if all(run.finished for run in missing) else f"not yet ({best})"


def _savings(costs: Sequence[Cost], baseline: Cost) -> list[str]:
    mean = mean_cost(costs)
    flops, seconds = ([getattr(cost, key) for cost in costs] for key in ("flops", "seconds"))
    of_flops, of_time = saving(mean.flops, baseline.flops), saving(mean.seconds, baseline.seconds)
    return [
        flops_spread(flops),
        percent_spread(of_flops, [saving(cost, baseline.flops) for cost in flops]),
        percent_spread(speed_up(mean.flops, baseline.flops), [speed_up(cost, baseline.flops) for cost in flops]),
        tokens_spread([cost.tokens for cost in costs]),
        seconds_spread(seconds),
        percent_spread(of_time, [saving(cost, baseline.seconds) for cost in seconds]),
        percent_spread(
            speed_up(mean.seconds, baseline.seconds), [speed_up(cost, baseline.seconds) for cost in seconds]
        ),
        f"{of_time / of_flops:.2f}" if of_flops >= 0.01 else NOTHING,
    ]


def every_run_table(groups: Sequence[Group], target: Target | None) -> Table:
    """The table of all runs, so that no mean hides one."""
    headings = ("run", "recipe", "seed", "state", "last held-out loss", "FLOPs", "seconds")
    reach_headings = ("FLOPs to the loss", "saving S", "speed-up U") if target else ()
    rows = []
    for group in groups:
        for run in group.runs:
            final = run.final
            row = [f"`{run.folder}`", group.name, str(run.seed), run.state, loss_text(final.loss)]
            row += [f"{final.cost.flops:.4g}", f"{final.cost.seconds:,.0f}"]
            rows.append(row + (_reach_of_run(run, target) if target else []))
    return Table((*headings, *reach_headings), rows)


def _reach_of_run(run: RunHistory, target: Target) -> list[str]:
    reach = Reach.of(run, target.loss)
    if reach.cost is None:
        return [_reached([reach], target.loss), NOTHING, NOTHING]
    flops, baseline = reach.cost.flops, target.cost.flops
    shown = f"{flops:.4g}" + ("†" if reach.ends_above else "")
    return [shown, f"{saving(flops, baseline):.1%}", f"{speed_up(flops, baseline):.1%}"]


def budget_table(groups: Sequence[Group], target: Target) -> Table:
    """The table of losses at equal FLOPs."""
    budgets = [part * target.cost.flops for part in BUDGETS]
    headings = [f"{part:.0%}: {flops:.3g} FLOPs" for part, flops in zip(BUDGETS, budgets, strict=True)]
    rows = [
        [group.name, *(_at_budget([at_budget(run, flops) for run in group.shown]) for flops in budgets)]
        for group in groups
    ]
    return Table(("recipe", *headings), rows)


def _at_budget(found: Sequence[AtBudget]) -> str:
    losses = [at.loss for at in found if at.loss is not None]
    if len(losses) < len(found):
        return "not yet" if any(at.loss is None and at.spent < 1 for at in found) else NOTHING
    spent = fmean(at.spent for at in found)
    return loss_spread(losses) + (f" (ended at {spent:.0%})" if spent < 1 else "")


def stage_table(group: Group, baseline: Cost | None) -> Table:
    """The table of a recipe's cost by stage, with the part of its saving in FLOPs that is also saved in time."""
    headings = ["stage", "layers", "steps", "mean depth", "FLOPs", "seconds", "loss at its end"]
    headings += ["share of FLOPs", "share of time"]
    rows = []
    for part in stage_parts(group):
        row = [str(part.number + 1), str(part.layers), f"{part.steps:,.0f}", f"{part.depth:.2f}"]
        row += [f"{part.cost.flops:.3g}", f"{part.cost.seconds:,.0f}", loss_text(part.loss)]
        row += [f"{part.flops_share:.1%}", f"{part.time_share:.1%}"]
        rows.append(row + ([_ratio(part.cost, baseline)] if baseline else []))
    if baseline and len(rows) > 1:
        whole = mean_cost([run.cost_at(run.steps[-1]["step"]) for run in group.shown])
        spent = [f"{whole.flops:.3g}", f"{whole.seconds:,.0f}"]
        rows.append(["all", "", "", "", *spent, "", "", "", _ratio(whole, baseline)])
    return Table((*headings, "wall_saving / flops_saving") if baseline else headings, rows)


def _ratio(cost: Cost, baseline: Cost) -> str:
    ratio = savings_ratio(cost, baseline)
    return NOTHING if ratio is None else f"{ratio:.2f}"


def growth_table(groups: Sequence[Group]) -> Table | None:
    """The table of held-out losses around each growth. None if nothing grew."""
    headings = ("recipe", "layers", "at step", "loss before", "loss after", "change", "next evaluation", "seconds")
    rows = []
    for group in groups:
        for growths in zip(*(run.growths for run in group.shown), strict=False):
            before, after = ([growth[key] for growth in growths] for key in ("loss_before", "loss_after"))
            measured = None not in before and None not in after
            later = [_next_loss(run, growth["step"]) for run, growth in zip(group.shown, growths, strict=True)]
            rows.append(
                [
                    group.name,
                    f"{growths[0]['from']} -> {growths[0]['to']}",
                    f"{fmean(growth['step'] for growth in growths):,.0f}",
                    loss_spread(before) if measured else NOTHING,
                    loss_spread(after) if measured else NOTHING,
                    f"{fmean(after) - fmean(before):+.4f}" if measured else NOTHING,
                    NOTHING if None in later else loss_spread([loss for loss in later if loss is not None]),
                    f"{fmean(growth['seconds'] for growth in growths):.1f}",
                ]
            )
    return Table(headings, rows) if rows else None


def _next_loss(run: RunHistory, step: int) -> float | None:
    return next((point.loss for point in run.curve if point.step > step), None)
