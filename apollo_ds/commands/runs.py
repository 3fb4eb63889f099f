"""`apollo-ds runs`: list the runs in a folder, and how far each has come."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from apollo_ds.commands.arguments import Json
from data_prep.command_line import path
from data_prep.output import Output

EXAMPLES = """
apollo-ds runs
apollo-ds runs sweeps/width --json
"""


def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", parser=path, help="Where the runs are.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List runs: how far each has come, its loss and its cost.

    The run that was written to last comes first.
    """
    from apollo_ds.experiments.run_list import find_runs, table_of

    found = find_runs(folder)
    if as_json:
        print(json.dumps([run.plain() for run in found], indent=2))
    elif found:
        console = Output()
        console.print(table_of(found, folder, time.time()))
        for run in found:
            if run.damage:
                console.print(run.damage, markup=False, soft_wrap=True)
    else:
        print(f"{folder} holds no runs; `apollo-ds train out={folder / 'NAME'}` makes one")
