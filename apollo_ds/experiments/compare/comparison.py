"""Compare runs, read from their folders: with fixed models, at equal loss, at equal FLOPs, and by stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from apollo_ds.errors import UserError
from apollo_ds.experiments.compare.comparable import check_comparable, difference, share_model, unlike_in_words
from apollo_ds.experiments.compare.fixed_runs import read_fixed
from apollo_ds.experiments.compare.frontier import Frontier
from apollo_ds.experiments.compare.groups import Group, find_group, group_runs
from apollo_ds.experiments.compare.measures import Target
from apollo_ds.experiments.compare.named_runs import is_run, named_runs
from apollo_ds.experiments.compare.recipes import method_in_words
from apollo_ds.experiments.compare.tuning import best_rates, without_rate
from apollo_ds.experiments.history import NotYetEvaluated, RunHistory


@dataclass(frozen=True)
class Comparison:
    """Runs, grouped by recipe, and the result of the baseline."""

    groups: list[Group]
    baseline: Group
    target: Target | None
    """The loss to reach. None if no run of the baseline has finished, or if recipes train models of different sizes."""
    tried: Sequence[Group] = ()
    """The groups of all learning rates, if only the best rate of each recipe is shown."""
    left_out: Sequence[str] = ()
    """Sentences that say why some of the named runs are in no group."""
    frontier: Frontier | None = None
    """The results of fixed models, if the user named such runs. They belong to no group because of this."""

    @property
    def is_of_one_model(self) -> bool:
        """Whether all recipes train the same model, so that one of them can be the baseline for the others."""
        return share_model([run for group in self.groups for run in group.runs])

    @classmethod
    def of(
        cls,
        folders: Sequence[Path],
        baseline: str | None = None,
        tuned: bool = False,
        frontier: Sequence[Path] = (),
    ) -> Self:
        """Read run folders and compare their runs.

        Args:
            folders: folders of runs, or folders that hold some.
            baseline: the folder of a run, which need not be among the others, or the name of a group (its method, and
                what tells it from other groups of that method). The default is the group of the first run, or of the
                first run from scratch that a folder holds. Runs that cannot be compared with it are left out.
            tuned: keep for each recipe only the learning rate at which it ends lowest.
            frontier: folders of the runs of fixed models. If there are any, models may differ in size.
        Raises:
            UserError: a folder is not a run and holds none, the baseline does not exist or has no held-out loss yet, no
                other run can be compared with it, two runs have the same recipe and seed, or a run of the frontier is
                not of a fixed model (`Frontier.of`) or cannot be compared.
        """
        runs, first, left_out = _read(folders, baseline)
        fixed = read_fixed(frontier)
        check_comparable([first, *fixed], of_one_model=False)
        runs, unlike = _comparable(runs, first, of_one_model=not fixed)
        tried = group_runs(runs)
        groups = best_rates(tried) if tuned else tried
        chosen = find_group(tried, baseline or str(first.folder))
        if tuned:
            chosen = next(group for group in groups if without_rate(group) == without_rate(chosen))
        target = Target.of(chosen) if share_model(runs) else None
        of_fixed = Frontier.of(fixed) if fixed else None
        return cls(groups, chosen, target, tried if tuned else (), [*left_out, *unlike], of_fixed)


def _read(folders: Sequence[Path], baseline: str | None) -> tuple[list[RunHistory], RunHistory, list[str]]:
    """The runs, the run with which all must be comparable, and sentences on named runs that are left out."""
    known = {folder.resolve(): folder for folder in named_runs(folders)}
    needed = folders[0].resolve()
    if baseline is not None and is_run(Path(baseline)):
        needed = Path(baseline).resolve()
        known.setdefault(needed, Path(baseline))
    runs: dict[Path, RunHistory] = {}
    left_out = []
    for path, folder in known.items():
        try:
            runs[path] = RunHistory.read(folder)
        except NotYetEvaluated as reason:
            if path == needed or len(known) == 1:
                raise
            left_out.append(f"Left out: {reason}.")
    if not runs:
        raise NotYetEvaluated(f"{' and '.join(map(str, folders))}: no run has a held-out loss yet")
    first, *others = runs.values()
    scratch = next((run for run in (first, *others) if method_in_words(run.recipe) == "scratch"), first)
    return [first, *others], runs.get(needed, scratch), left_out


def _comparable(
    runs: Sequence[RunHistory], first: RunHistory, of_one_model: bool
) -> tuple[list[RunHistory], list[str]]:
    """The runs that can be compared with the run `first`, and sentences that say why the others are left out.

    Raises:
        UserError: all other runs would be left out, with `of_one_model`.
    """
    found = [(run, difference(first, run, of_one_model)) for run in runs]
    alike = [run for run, why in found if why is None]
    reasons = unlike_in_words([(run, why) for run, why in found if why is not None], first)
    if reasons and len(alike) == 1 and of_one_model:
        raise UserError("; ".join(reasons))
    return alike, [f"Left out: {reason}." for reason in reasons]


__all__ = ["Comparison"]
