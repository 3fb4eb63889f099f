"""The grids of evidence are sound, also those that have not been run, and those for GPUs say what they cost."""

from pathlib import Path

import pytest
from cost import RATE, cost_table, costs
from project import PROJECT
from questions import QUESTIONS, SAVING

from apollo_ds.experiments.sweep.grid import Grid

EVIDENCE = PROJECT / "benchmarks" / "evidence"
GRIDS = [path for question in (SAVING, *QUESTIONS) for path in sorted((EVIDENCE / question).glob("*.yaml"))]


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_of_a_grid_can_be_planned(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    grid = Grid.read(path)
    assert len(grid.lines(grid.cells)) == len(grid.cells)


@pytest.mark.parametrize("path", sorted((EVIDENCE / SAVING).glob("*-gpu.yaml")), ids=lambda path: path.stem)
def test_the_header_of_a_grid_for_gpus_says_what_it_costs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    header = [line.split() for line in path.read_text().split("\nrecipe:")[0].splitlines()]
    rows = cost_table(costs(path), RATE).rows
    assert ["once", *rows[-1][-2:]] in [line[-3:] for line in header]
    for name, _, *numbers in rows[:-1]:
        assert ",steps=" in name or numbers in [line[-3:] for line in header], name
