"""`apollo-ds sweep`: every recipe of a grid."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apollo_ds.errors import UserError
from data_prep.command_line import path

if TYPE_CHECKING:
    from apollo_ds.experiments.sweep.grid import Grid

EXAMPLES = """
apollo-ds sweep grid.yaml --jobs 2
apollo-ds sweep grid.yaml --list > runs.txt
sbatch --array=1-$(wc -l < runs.txt) launch/pretrain.sbatch @runs.txt
"""


def sweep(
    grid: Annotated[
        Path, typer.Argument(metavar="GRID.yaml", parser=path, help="A file with the keys recipe, set, grid and out.")
    ],
    lists: Annotated[
        bool,
        typer.Option("--list", help="For a SLURM array: print a line with the words of each run that is not complete."),
    ] = False,
    number: Annotated[
        int | None, typer.Option(metavar="N", help="Train the N-th run of the grid and no other.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(metavar="N", help="How many runs to train at a time.", show_default="1")
    ] = None,
) -> None:
    """Train every recipe of a grid.

    A grid is a recipe and lists of values for some of its keys, such as four methods and three seeds: twelve runs. The
    same command resumes it, and trains what is not complete.
    """
    from apollo_ds.experiments.sweep.grid import Grid
    from apollo_ds.experiments.sweep.runner import Sweep

    if sum((lists, number is not None, jobs is not None)) > 1:
        raise UserError("--list, --number, --jobs: give one of them")
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs {jobs}: give at least 1")
    read = Grid.read(grid)
    if lists:
        _list(read)
    else:
        sys.exit(Sweep(read, jobs=jobs or 1).run(number))


def _list(grid: "Grid") -> None:
    from apollo_ds.experiments.sweep.further import awaits_others, known_cells

    cells = [cell for cell in known_cells(grid) if not cell.is_complete]
    waiting = [cell for cell in cells if (trunk := grid.trunk(cell)) and trunk.is_awaited_by(cell)]
    print("".join(f"{line}\n" for line in grid.lines([cell for cell in cells if cell not in waiting])), end="")
    if waiting:
        print(
            f"branches: {len(waiting)} not listed; each is listed once its source run has reached the step",
            file=sys.stderr,
        )
    if awaits_others(grid):
        print("further_seeds: their runs are listed once all of these are complete", file=sys.stderr)
