"""Write the answer of a comparison: the sentences before its tables."""

from collections.abc import Sequence
from math import isfinite
from statistics import fmean

from apollo_ds.experiments.compare.comparison import Comparison
from apollo_ds.experiments.compare.distances import RecipeDistance, distances
from apollo_ds.experiments.compare.groups import Group
from apollo_ds.experiments.compare.measures import (
    Reach,
    Spread,
    Target,
    costs_to_reach,
    has_learned,
    saving,
    source_cost,
    unigram_entropy,
)
from apollo_ds.experiments.compare.text import (
    flops_spread,
    loss_spread,
    loss_text,
    percent_spread,
)
from apollo_ds.experiments.compare.tuning import end
from data_prep.counted import counted

_ONE_SEED = "One seed cannot tell this from chance."
_HARDLY = 0.05
"""If a loss is less than this fraction below the unigram entropy, hardly anything was learned."""


def opening(comparison: Comparison) -> list[str]:
    """The answer, the recipes that learned nothing or hardly anything, and the runs that are left out.

    If the baseline learned nothing, this comes first, and the answer says that there is no saving.
    """
    groups, answer = comparison.groups, [_answer(comparison)]
    nothing, hardly = _nothing_learned(groups), _hardly_learned(groups)
    told = [*answer, *nothing] if has_learned(comparison.baseline) else [*nothing, *answer]
    return [*told, *hardly, *comparison.left_out]


def _answer(comparison: Comparison) -> str:
    groups, baseline, target = comparison.groups, comparison.baseline, comparison.target
    if comparison.frontier:
        return _against_fixed(distances(groups, comparison.frontier))
    if len(groups) == 1:
        return _alone(baseline)
    if target is None:
        return _without_target(groups, baseline)
    if not target.is_learned:
        return f"No saving is given, because the baseline, {baseline.name}, learned nothing that could have cost less."
    return _at_equal_loss(groups, baseline, target)


def _alone(group: Group) -> str:
    losses = loss_spread([run.final.loss for run in group.shown])
    if not group.finished:
        states = " and ".join(run.state for run in group.runs)
        return f"{group.name} is {states}. Its held-out loss so far is {losses} nats per token."
    flops = flops_spread([run.final.cost.flops for run in group.shown])
    seeds = counted(len(group.shown), "seed")
    return f"{group.name} comes to a held-out loss of {losses} nats per token for {flops} FLOPs ({seeds})."


def _without_target(groups: Sequence[Group], baseline: Group) -> str:
    ended = " and ".join(f"seed {run.seed}" for run in baseline.finished)
    why = f"{ended} did not all end with a finite loss" if ended else "no run of it has come to its end"
    lowest = min(groups, key=end)
    known = f" The lowest loss so far is that of {_with_loss(lowest)}." if isfinite(end(lowest)) else ""
    return f"There is no loss of the baseline, {baseline.name}, to reach: {why}.{known}"


def _at_equal_loss(groups: Sequence[Group], baseline: Group, target: Target) -> str:
    """Say which recipe reaches the baseline's loss for the fewest FLOPs, if seeds can tell, and which ends lowest."""
    loss = f"{loss_text(target.loss)} nats per token, the final loss of {baseline.name},"
    others = [group for group in groups if group is not baseline]
    reached = [(group, costs) for group in others if (costs := _flops_to_reach(group, target))]
    if not reached:
        yet = "" if all(group.finished for group in others) else " yet"
        nearest = min(others, key=end)
        some = any(Reach.of(run, target.loss).cost for group in others for run in group.shown)
        loss = loss.rstrip(",") + (", with each of its seeds" if some else "")
        told = [f"No other recipe comes to {loss}{yet}: the nearest is {_with_loss(nearest)}."]
        return " ".join([*told, *_of_chance(None, min(len(nearest.shown), len(baseline.shown)))])
    best, flops = min(reached, key=lambda found: fmean(found[1]))
    of_baseline = target.cost.flops + target.source.flops
    saved = saving(fmean(flops), of_baseline)
    savings = [saving(one, of_baseline) for one in flops]
    if saved > 0:
        fewest = f", the fewest of {len(groups)} recipes" if len(groups) > 2 else ""
        less = f"{percent_spread(saved, savings)} fewer FLOPs{fewest}{_with_source(best)}"
        told = [f"{best.name} comes to {loss} with {less}."]
    else:
        more = f"{best.name} takes {percent_spread(-saved, savings)} more{_with_source(best)}"
        told = [f"No other recipe comes to {loss} for fewer FLOPs: {more}."]
    told += _of_chance(Spread.of(savings), min(len(best.shown), len(baseline.shown)))
    lowest = min(groups, key=end)
    if lowest is not best and lowest is not baseline:
        told.append(f"The lowest loss is that of {_with_loss(lowest)}.")
    return " ".join(told)


def _flops_to_reach(group: Group, target: Target) -> list[float] | None:
    """The FLOPs of each shown run to reach the target's loss. The cost of a source is added if it is known.

    None if a run does not reach the loss.
    """
    costs = costs_to_reach(group, target)
    if costs is None:
        return None
    return [cost.flops + source_cost(run).flops for cost, run in zip(costs, group.shown, strict=True)]


def _with_source(group: Group) -> str:
    """Say whether the cost of the source counts, if a recipe's runs start from one."""
    if any(run.source for run in group.shown):
        return ", counting the model that it starts from"
    if any("source" in run.start for run in group.shown):
        return ", without the model that it starts from, whose cost is not known"
    return ""


def _against_fixed(found: Sequence[RecipeDistance]) -> str:
    """Say which recipe is best against the best fixed model of its cost, and whether seeds can tell."""
    placed = [(one, one.loss) for one in found if one.loss and has_learned(one.group)]
    if not placed:
        return (
            "No recipe can be compared with fixed models: none of these was trained for the cost of a recipe that has "
            "finished and learned something."
        )
    best, loss = min(placed, key=lambda found: found[1].mean)
    seeds = len(best.runs)
    sign = 1 if loss.mean > 0 else -1
    far = f"{loss_spread([sign * run.loss for run in best.runs])} nats per token"
    if loss.mean < 0:
        rival = f", {best.best.name}" if best.best else ""
        told = [
            f"{best.group.name} ends {far} below the best fixed model of its cost{rival} ({counted(seeds, 'seed')})."
        ]
    else:
        nearest = f"{best.group.name}, {far} above it ({counted(seeds, 'seed')})"
        told = [f"No recipe ends below the best fixed model of its cost. The nearest is {nearest}."]
    return " ".join([*told, *_of_chance(loss, seeds)])


def _of_chance(found: Spread | None, seeds: int) -> list[str]:
    """A sentence if seeds cannot tell the finding from chance. Empty if they can."""
    if seeds == 1:
        return [_ONE_SEED]
    if found and found.deviation is not None and abs(found.mean) <= found.deviation:
        return ["Its seeds are as far apart as that, so it may be chance."]
    return []


def _nothing_learned(groups: Sequence[Group]) -> list[str]:
    """A sentence that names the recipes that learned nothing. Empty if there are none."""
    names = [_with_loss(group) for group in groups if isfinite(end(group)) and not has_learned(group)]
    entropy = loss_text(unigram_entropy(groups[0].runs[0]))
    guess = f"the unigram entropy of the text, which a guess without context comes to, is {entropy} nats per token"
    return [f"Nothing was learned by {' and '.join(names)}: {guess}."] if names else []


def _hardly_learned(groups: Sequence[Group]) -> list[str]:
    """A sentence that names the recipes that learned hardly anything. Empty if there are none."""
    entropy = unigram_entropy(groups[0].runs[0])
    names = [_with_loss(group) for group in groups if entropy and (1 - _HARDLY) * entropy <= end(group) < entropy]
    little = f"less than {_HARDLY:.0%} below the unigram entropy of the text, {loss_text(entropy)} nats per token"
    hardly = f"Hardly anything was learned by {' and '.join(names)}: {little}. Train for longer to compare."
    return [hardly] if names else []


def _with_loss(group: Group) -> str:
    return f"{group.name} ({loss_text(end(group))})"
