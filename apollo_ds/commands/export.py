"""`apollo-ds export`: a checkpoint as a `transformers` model."""

from pathlib import Path
from typing import Annotated

import typer

from apollo_ds.commands.arguments import Run
from data_prep.command_line import path

EXAMPLES = """
apollo-ds export runs/mine model
apollo-ds export runs/mine model-200 --step 200
"""


def export(
    run: Run,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", parser=path, help="Where to write the model.")],
    step: Annotated[
        int | None,
        typer.Option(metavar="N", help="The step of the checkpoint, such as 200.", show_default="the newest"),
    ] = None,
) -> None:
    """Write a checkpoint as a transformers model.

    The folder then holds the model and its tokenizer, for `AutoModel.from_pretrained` and `pipeline` of transformers.
    """
    from apollo_ds.config.run_folder import RunFolder
    from apollo_ds.training.export_run import export_run

    chosen = export_run(RunFolder(run), folder, step)
    print(f"{chosen} written to {folder} as a transformers model")
