"""`apollo-ds compare`: show what methods save, from runs that were trained with them."""

from pathlib import Path
from typing import Annotated

import typer

from apollo_ds.commands.completions import runs as runs_here
from data_prep.command_line import path
from data_prep.output import Output

EXAMPLES = """
apollo-ds compare runs/sweep
apollo-ds compare runs/scratch-1 runs/apollo-1 --baseline runs/scratch-1
apollo-ds compare runs/apollo-* --frontier runs/fixed-* --out comparison
"""


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN", parser=path, help="Folders of runs, or a folder that holds some.", autocompletion=runs_here
        ),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="What to compare the others with: a folder, or a name in the table.",
            show_default="the first run",
            autocompletion=runs_here,
        ),
    ] = None,
    frontier: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN ...",
            parser=path,
            help="Runs of models that did not grow (method: scratch), of any size and length, trained to their end. "
            "Each run is then also compared with the best of them at its own cost.",
            autocompletion=runs_here,
        ),
    ] = None,
    tuned: Annotated[bool, typer.Option("--tuned", help="Show each recipe only at its best learning rate.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", parser=path, help="Write a page with figures to this folder, too."),
    ] = None,
) -> None:
    """Compare runs at equal loss and at equal cost.

    The runs must have read the same text. Runs of one recipe that differ only in the seed are one row of the table.
    """
    from apollo_ds.experiments.compare.comparison import Comparison
    from apollo_ds.experiments.compare.page import print_comparison, write_page

    comparison = Comparison.of(runs, baseline, tuned, frontier or ())
    print_comparison(comparison, Output())
    if out is None:
        print("--out FOLDER writes a page with all columns, each run and stage, and figures.")
    else:
        print(write_page(comparison, out))
