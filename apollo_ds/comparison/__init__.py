"""Runs side by side, from their folders alone: at equal loss, at equal FLOPs, by seed, by stage, around growths."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from apollo_ds.comparison.groups import Group, check_comparable, find, grouped
from apollo_ds.comparison.measures import Target
from apollo_ds.history import RunHistory


@dataclass(frozen=True)
class Comparison:
    """Runs by recipe, and what the baseline among them came to."""

    groups: list[Group]
    baseline: Group
    target: Target | None
    """None while no run of the baseline has finished."""

    @classmethod
    def of(cls, folders: Sequence[Path], baseline: str | None = None) -> Self:
        """Read run folders.

        The baseline is a run's folder, which need not be among the others, or the name of a group (its method, and
        what tells it from others of that method); by default the group of the first run.

        Raises:
            UserError: a folder is not a run's, or two cannot be compared (`check_comparable`) or have the same recipe
                and seed, or there is no such baseline.
        """
        known = {folder.resolve(): folder for folder in folders}
        if baseline is not None and (Path(baseline) / "metrics.jsonl").is_file():
            known.setdefault(Path(baseline).resolve(), Path(baseline))
        runs = [RunHistory.read(folder) for folder in known.values()]
        check_comparable(runs)
        groups = grouped(runs)
        chosen = find(groups, baseline)
        return cls(groups, chosen, Target.of(chosen))


__all__ = ["Comparison"]
