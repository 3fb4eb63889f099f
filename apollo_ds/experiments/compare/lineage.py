"""Find which runs go on from which, and what they cost together. Steps that they share count once."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from apollo_ds.experiments.history import Cost, RunHistory


def lineage_remarks(runs: Sequence[RunHistory]) -> list[str]:
    """Sentences on runs that are branches. Empty if there are none."""
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
    """The cost of all these runs, with the parts of other runs that they go on from."""
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
    """For each part of a run's way: the folder of the run that trained it, and the costs before and after it.

    A run's identifier cannot be used here, because two runs of one recipe have the same one.
    """
    begin = Cost(0.0, 0, 0.0)
    for branch in run.branches:
        end = Cost(*(branch[f"shared_{key}"] for key in ("flops", "tokens", "seconds")))
        yield str(Path(branch["parent"]).resolve()), begin, end
        begin = end
    yield str(run.folder.resolve()), begin, run.cost_at(run.steps[-1]["step"])
