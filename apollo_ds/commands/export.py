"""`apollo-ds export`: a checkpoint as a `transformers` model."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from apollo_ds.commands.arguments import Run
from apollo_ds.errors import UserError
from data_prep.command_line import path

EXAMPLES = """
apollo-ds export runs/mine model
apollo-ds export runs/mine model-200 --step 200
apollo-ds export runs/mine model --license apache-2.0 --push me/my-model
"""


def export(
    run: Run,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", parser=path, help="Where to write the model.")],
    step: Annotated[
        int | None,
        typer.Option(metavar="N", help="The step of the checkpoint, such as 200.", show_default="the newest"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another export that is in FOLDER.")] = False,
    license: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The license for the model card, as the hub writes it: apache-2.0, mit."),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="USER/MODEL", help="Upload FOLDER to the Hugging Face hub, as a model of this name."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="With --push: nobody else may see the model.")] = False,
) -> None:
    """Write a checkpoint as a transformers model.

    The folder then holds the model, its tokenizer and a model card, for `AutoModel.from_pretrained` and `pipeline` of
    transformers.
    """
    from apollo_ds.checkpoint.export_push import HubModel
    from apollo_ds.config.run_folder import RunFolder
    from apollo_ds.training.export_run import export_run

    if private and push is None:
        raise UserError("--private: is for an upload; give --push USER/MODEL too")
    hub = HubModel(push, private) if push is not None else None
    if hub:
        hub.check()
    done = export_run(RunFolder(run), folder, step, overwrite, license, push)
    if done.is_new:
        print(f"{done.checkpoint} written to {folder} as a transformers model")
    else:
        print(f"{folder} holds {done.checkpoint} as a transformers model already")
    if done.keeps_card:
        print(f"{folder / 'README.md'} was not written by apollo_ds, or was changed since, and stays", file=sys.stderr)
    if hub:
        print(f"Uploaded to {hub.upload(folder, f'{done.checkpoint.name} of {run.resolve().name}')}")
