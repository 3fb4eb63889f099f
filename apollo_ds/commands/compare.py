"""`apollo-ds compare`: what methods save, by the runs that were made with them."""

from pathlib import Path
from typing import Annotated

import typer

from data_prep.command_line import path
from data_prep.output import Output

REPEATED = frozenset({"--frontier"})
EXAMPLES = """
apollo-ds compare runs/scratch-1 runs/apollo-1 --baseline runs/scratch-1

apollo-ds compare runs/apollo-* --frontier runs/fixed-* --out comparison
"""


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", parser=path, help="Folders of runs.")],
    baseline: Annotated[
        str | None,
        typer.Option(metavar="RUN|NAME", help="What to compare with: a folder, or a name in the table; the first run."),
    ] = None,
    frontier: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN ...",
            parser=path,
            help="Folders of fixed models (method: scratch) of any size and length, trained to their end. Recipes are "
            "compared with the best of them at their own cost.",
        ),
    ] = None,
    tuned: Annotated[bool, typer.Option("--tuned", help="Show each recipe only at its best learning rate.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", parser=path, help="Where to write a page and figures.")
    ] = None,
) -> None:
    """Compare runs at equal loss, at equal cost and with models that do not grow."""
    from apollo_ds.experiments.compare.comparison import Comparison
    from apollo_ds.experiments.compare.page import print_comparison, write_page

    comparison = Comparison.of(runs, baseline, tuned, frontier or ())
    print_comparison(comparison, Output())
    if out is not None:
        print(write_page(comparison, out))
