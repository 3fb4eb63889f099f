"""`apollo-prep inspect`: what is in a folder of shards."""

from pathlib import Path
from typing import Annotated

import typer

from data_prep.command_line import path
from data_prep.inspection import inspect as inspect_shards
from data_prep.output import Output

EXAMPLES = """
apollo-prep inspect data/docs
"""


def inspect(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", parser=path, help="The folder of shards. A picture of their lengths is added to it."
        ),
    ],
) -> None:
    """Check shards, and show what is in them.

    Each file is compared with the hash that was recorded when it was written.
    """
    inspect_shards(folder, Output(markup=False))
