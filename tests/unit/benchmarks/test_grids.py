"""The grids of evidence are sound, also those that have not been run."""

from pathlib import Path

import pytest
from project import PROJECT

from apollo_ds.experiments.sweep.grid import Grid

GRIDS = sorted((PROJECT / "benchmarks" / "evidence" / "saving").glob("*.yaml"))


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_recipe_of_a_grid_can_be_planned(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    grid = Grid.read(path)
    assert len(grid.lines(grid.cells)) == len(grid.cells)
