"""Runs side by side, from their folders alone: against fixed models, at equal loss, at equal FLOPs, by stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from apollo_ds.experiments.compare.fixed_runs import read_fixed
from apollo_ds.experiments.compare.frontier import Frontier
from apollo_ds.experiments.compare.groups import Group, check_comparable, find_group, group_runs, share_model
from apollo_ds.experiments.compare.measures import Target
from apollo_ds.experiments.compare.tuning import best_rates, without_rate
from apollo_ds.experiments.history import NotYetEvaluated, RunHistory


@dataclass(frozen=True)
class Comparison:
    """Runs by recipe, and what the baseline among them came to."""

    groups: list[Group]
    baseline: Group
    target: Target | None
    """None while no run of the baseline has finished, and where recipes train models of different sizes."""
    tried: Sequence[Group] = ()
    """Where only the best rate of each recipe is shown: the groups of all rates."""
    left_out: Sequence[str] = ()
    """Why runs that were named are not in any group, in words."""
    frontier: Frontier | None = None
    """What fixed models of any size come to, where such runs were named; they are in no group for that."""

    @property
    def is_of_one_model(self) -> bool:
        """Whether all recipes train one model, so that one of them can be the baseline for the others."""
        return share_model([run for group in self.groups for run in group.runs])

    @classmethod
    def of(
        cls,
        folders: Sequence[Path],
        baseline: str | None = None,
        tuned: bool = False,
        frontier: Sequence[Path] = (),
    ) -> Self:
        """Read run folders; if `tuned`, keep of each recipe the learning rate at which it ends lowest.

        The baseline is a run's folder, which need not be among the others, or the name of a group (its method, and
        what tells it from others of that method); by default the group of the first run. `frontier` has the folders of
        fixed models' runs. Where there are any, models may differ in size.

        Raises:
            UserError: a folder is not a run's, the baseline has no held-out loss yet, two cannot be compared
                (`check_comparable`) or have the same recipe and seed, there is no such baseline, or a run of the
                frontier is none of a fixed model (`Frontier.of`).
        """
        known = {folder.resolve(): folder for folder in folders}
        if baseline is not None and (Path(baseline) / "metrics.jsonl").is_file():
            known.setdefault(Path(baseline).resolve(), Path(baseline))
        needed = Path(baseline).resolve() if baseline is not None else next(iter(known))
        runs, left_out = [], []
        for path, folder in known.items():
            try:
                runs.append(RunHistory.read(folder))
            except NotYetEvaluated as reason:
                if path == needed:
                    raise
                left_out.append(str(reason))
        fixed = read_fixed(frontier)
        check_comparable([*runs, *fixed], of_one_model=not fixed)
        tried = group_runs(runs)
        groups = best_rates(tried) if tuned else tried
        chosen = find_group(tried, baseline)
        if tuned:
            chosen = next(group for group in groups if without_rate(group) == without_rate(chosen))
        target = Target.of(chosen) if share_model(runs) else None
        return cls(groups, chosen, target, tried if tuned else (), left_out, Frontier.of(fixed) if fixed else None)


__all__ = ["Comparison"]
