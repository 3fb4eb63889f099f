"""Compute the cost of a run stage by stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from apollo_ds.experiments.compare.groups import Group, mean_cost
from apollo_ds.experiments.history import Cost, RunHistory, loss_at


@dataclass(frozen=True)
class StagePart:
    """One stage of a recipe, with the mean costs of its shown runs in it."""

    number: int
    layers: int
    depth: float
    """The layers that a step ran, on average."""
    steps: float
    cost: Cost
    loss: float | None
    """The held-out loss at the end of the stage. None if it is not known."""
    flops_share: float
    time_share: float


def savings_ratio(cost: Cost, baseline: Cost) -> float | None:
    """wall_saving / flops_saving: the part of a token's saving in FLOPs that is also saved in time.

    Both are 1 - (cost of a token) / (cost of a token of the baseline). None if less than 1% of the FLOPs is saved.
    """
    flops, wall = (
        1 - (getattr(cost, key) / cost.tokens) / (getattr(baseline, key) / baseline.tokens)
        for key in ("flops", "seconds")
    )
    return wall / flops if flops >= 0.01 else None


def full_depth_cost(group: Group) -> Cost | None:
    """The cost of the last stage, if all layers of the model always ran in it and there were stages before it."""
    parts = stage_parts(group)
    layers = group.runs[0].recipe["model"]["num_layers"]
    return parts[-1].cost if len(parts) > 1 and parts[-1].layers == parts[-1].depth == layers else None


def stage_parts(group: Group) -> list[StagePart]:
    """The stages that all shown runs of a group have reached."""
    by_run = [_parts_of(run) for run in group.shown]
    return [
        StagePart(
            number=parts[0].number,
            layers=parts[0].layers,
            depth=fmean(part.depth for part in parts),
            steps=fmean(part.steps for part in parts),
            cost=mean_cost([part.cost for part in parts]),
            loss=_mean_or_none([part.loss for part in parts]),
            flops_share=fmean(part.flops_share for part in parts),
            time_share=fmean(part.time_share for part in parts),
        )
        for parts in zip(*by_run, strict=False)
    ]


def _parts_of(run: RunHistory) -> list[StagePart]:
    total = run.cost_at(run.steps[-1]["step"])
    before, steps_before = Cost(0, 0, 0), 0
    parts = []
    for number in sorted({event["stage"] for event in run.steps}):
        steps = [event for event in run.steps if event["stage"] == number]
        end = run.cost_at(steps[-1]["step"])
        cost = Cost(end.flops - before.flops, end.tokens - before.tokens, end.seconds - before.seconds)
        parts.append(
            StagePart(
                number=number,
                layers=steps[0]["unique_layers"],
                depth=fmean(event["depth"] for event in steps),
                steps=steps[-1]["step"] - steps_before,
                cost=cost,
                loss=_loss_at_end(run, steps[-1]["step"], end.flops),
                flops_share=cost.flops / total.flops,
                time_share=cost.seconds / total.seconds,
            )
        )
        before, steps_before = end, steps[-1]["step"]
    return parts


def _loss_at_end(run: RunHistory, step: int, flops: float) -> float | None:
    """The loss at the end of a stage. A growth measures it. Otherwise it is interpolated."""
    growth = next((event for event in run.growths if event["step"] == step), None)
    return growth["loss_before"] if growth else loss_at(run.curve, flops)


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None
