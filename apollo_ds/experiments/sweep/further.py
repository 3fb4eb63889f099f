"""Find the further runs of a sweep: more seeds at the best learning rate of each recipe."""

from apollo_ds.experiments.compare.groups import group_runs
from apollo_ds.experiments.compare.tuning import best_rates
from apollo_ds.experiments.history import RunHistory
from apollo_ds.experiments.sweep.cell import Cell
from apollo_ds.experiments.sweep.grid import Grid, Part


def known_cells(grid: Grid) -> list[Cell]:
    """A grid's own runs, and behind them the further runs, which are known once all of these are complete.

    So the number of a run never changes.
    """
    return [*grid.cells, *([] if awaits_others(grid) else further_cells(grid))]


def awaits_others(grid: Grid) -> bool:
    """Whether there will be further runs that are not known yet, because some of the grid's runs are not complete."""
    return not all(cell.is_complete for part in grid.parts if part.further_seeds for cell in part.cells)


def further_cells(grid: Grid) -> list[Cell]:
    """The runs with further seeds for each recipe. Its complete runs decide the rate, so without any it has none."""
    known = {cell.folder for cell in grid.cells}
    found = {cell.folder: cell for part in grid.parts if part.further_seeds for cell in _of_part(part)}
    return [cell for folder, cell in found.items() if folder not in known]


def _of_part(part: Part) -> list[Cell]:
    complete = {
        cell.folder: combination for combination in part.combinations if (cell := part.cell(combination)).is_complete
    }
    best = best_rates(group_runs([RunHistory.read(folder) for folder in complete]))
    chosen = [complete[group.runs[0].folder] for group in best]
    return [part.cell({**combination, "seed": seed}) for combination in chosen for seed in part.further_seeds]
