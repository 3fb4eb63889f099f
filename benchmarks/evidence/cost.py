"""What a grid's runs cost before any of them is trained, planned as `apollo-ds plan` does.

    python benchmarks/evidence/cost.py GRID.yaml [--flops-per-second 3e14]

Prints for each run its operations, forward and backward, the tokens a parameter of its final model that it trains on,
and the hours at that rate on one device; then the same operations and hours for the whole grid. A branch costs the
whole way. In the whole, the steps that it takes over from its run are counted once, and further seeds at the best
learning rate not at all. No text is opened.
"""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path

from rich.console import Console

from apollo_ds.config.load import load_recipe
from apollo_ds.errors import EXIT_USER_ERROR, UserError
from apollo_ds.experiments.compare.text import Table
from apollo_ds.experiments.sweep.grid import Grid
from apollo_ds.planning.plan import plan
from apollo_ds.planning.step_flops import remaining_flops

RATE = 3e14
"""Operations a second that are assumed of one large GPU."""


@dataclass(frozen=True)
class RunCost:
    """What a run of a grid takes."""

    name: str
    flops: float
    """Operations of all steps; for a branch, with the steps that the other run has taken."""
    own_flops: float
    """Operations of the steps that the run takes itself."""
    tokens: int
    """Tokens of all steps, counted like `flops`."""
    parameters: int
    """Parameters of the model at the end of the run."""


def costs(path: Path) -> list[RunCost]:
    """The runs of a grid, in its order, without further seeds, whose learning rate is not known yet.

    A branch is planned as a run of its own recipe that takes all steps itself.

    Raises:
        UserError: the grid's file or a recipe is wrong.
    """
    grid = Grid.parse(path)
    found = []
    for cell in grid.cells:
        trunk = grid.trunk(cell)
        words = cell.unbranched_words if trunk else cell.words
        recipe = load_recipe(grid.recipe, words, given_in=f"{path}: {cell.name}")
        planned = plan(recipe)
        total, parameters = planned["total"], planned["stages"][-1]["parameters"]
        own = remaining_flops(recipe.schedule(), trunk.step) if trunk else total["flops"]
        found.append(RunCost(cell.name, total["flops"], own, total["tokens"], parameters))
    return found


def cost_table(runs: Iterable[RunCost], flops_per_second: float) -> Table:
    """A row a run, and one for the whole grid.

    Args:
        runs: those of one grid.
        flops_per_second: what a device does.
    """
    rows, whole = [], 0.0
    for run in runs:
        ratio = f"{run.tokens / run.parameters:.1f}"
        rows.append([run.name, f"{run.parameters:,}", ratio, *_spent(run.flops, flops_per_second)])
        whole += run.own_flops
    rows.append(["the whole grid, shared steps once", "", "", *_spent(whole, flops_per_second)])
    return Table(("run", "parameters", "tokens a parameter", "operations", "hours"), rows)


def _spent(flops: float, flops_per_second: float) -> tuple[str, str]:
    return f"{flops:.2e}", f"{flops / flops_per_second / 3600:,.2f}"


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", type=Path, metavar="GRID.yaml")
    parser.add_argument("--flops-per-second", type=_rate, default=RATE, metavar="RATE", help=f"default {RATE:g}")
    options = parser.parse_args()
    try:
        table = cost_table(costs(options.grid), options.flops_per_second)
    except UserError as error:
        print(f"cost.py: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    Console().print(table)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = nan
    if not 0 < rate < inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, such as {RATE:g}, not {text}")
    return rate


if __name__ == "__main__":
    main()
