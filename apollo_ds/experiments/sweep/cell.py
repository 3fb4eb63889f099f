"""A run of a sweep, and the run of the same sweep that it branches off."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from apollo_ds.config.run_folder import RunFolder
from apollo_ds.experiments.history import RunHistory

_BRANCH = "branch_from="


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    name: str
    """The last part of the path of the run's folder. It is made of the grid's values."""
    folder: Path
    words: tuple[str, ...]
    """The overrides of the recipe, with `out`. A word has white space in it only if a text has."""

    @property
    def is_complete(self) -> bool:
        """Whether the run has finished, with its exported model and its report."""
        folder = RunFolder(self.folder)
        if not (folder.exists and folder.metrics.is_file() and (folder.report / "report.md").is_file()):
            return False
        return RunHistory.read(self.folder).finished

    @property
    def unbranched_words(self) -> tuple[str, ...]:
        """The words of the same run if it did not branch off, but took all of its steps itself."""
        return tuple(word for word in self.words if not word.startswith(_BRANCH))


@dataclass(frozen=True)
class Trunk:
    """The step of a sweep's run at which another of its runs begins."""

    cell: Cell
    step: int

    @classmethod
    def of(cls, branch: Cell, cells: Iterable[Cell]) -> "Trunk | None":
        """The trunk that a run names in `branch_from`, among these runs. None if it names none of them."""
        named = [word.removeprefix(_BRANCH) for word in branch.words if word.startswith(_BRANCH)]
        for text in named:
            folder, _, step = text.rpartition("@")
            place = Path(os.path.expanduser(folder)).resolve()
            found = next((cell for cell in cells if cell != branch and cell.folder.resolve() == place), None)
            if found and step.isdecimal():
                return cls(found, int(step))
        return None

    def is_awaited_by(self, branch: Cell) -> bool:
        """Whether a branch must wait: it has not begun, and the trunk has not reached the step."""
        if RunFolder(branch.folder).exists or self.cell.is_complete:
            return False
        return not (RunFolder(self.cell.folder).checkpoints / f"step-{self.step}").is_dir()

    def __str__(self) -> str:
        return f"step {self.step:,} of {self.cell.name}"
