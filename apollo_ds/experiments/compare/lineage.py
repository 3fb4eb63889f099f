"""Which runs go on from which, and what they cost together, the steps that they share counted once."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from apollo_ds.experiments.history import Cost, RunHistory


def lineage_remarks(runs: Sequence[RunHistory]) -> list[str]:
    """What a reader should know of branches, in sentences; none where no run is one."""
    told = [
        f"{run.folder} goes on from {branch['parent']}, step {branch['step']:,}: {branch['shared_flops']:.4g} of its "
        "FLOPs are those of that run."
        for run in runs
        for branch in run.branches[-1:]
    ]
    if not told:
        return []
    cost = spent_together(runs)
    return [
        *told,
        f"All of these runs together took {cost.flops:.4g} FLOPs and {cost.seconds:,.0f} seconds: steps that several "
        "share count once here, and in each of them in tables and figures.",
    ]


def spent_together(runs: Sequence[RunHistory]) -> Cost:
    """What it took to train all of these runs, and those that they go on from up to there."""
    parts: dict[str, tuple[Cost, Cost]] = {}
    for run in runs:
        for trained_by, begin, end in _parts(run):
            known = parts.get(trained_by, (begin, end))
            parts[trained_by] = (begin, max(end, known[1], key=lambda cost: cost.tokens))
    total = Cost(0.0, 0, 0.0)
    for begin, end in parts.values():
        total += Cost(end.flops - begin.flops, end.tokens - begin.tokens, end.seconds - begin.seconds)
    return total


def _parts(run: RunHistory) -> Iterator[tuple[str, Cost, Cost]]:
    """The folder of the run that has trained each part of the way, and what had been spent before and after.

    Two runs of one recipe have one identity, so that it tells nothing here.
    """
    begin = Cost(0.0, 0, 0.0)
    for branch in run.branches:
        end = Cost(*(branch[f"shared_{key}"] for key in ("flops", "tokens", "seconds")))
        yield str(Path(branch["parent"]).resolve()), begin, end
        begin = end
    yield str(run.folder.resolve()), begin, run.cost_at(run.steps[-1]["step"])
