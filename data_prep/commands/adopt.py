"""`apollo-prep adopt`: shards that other tools wrote."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from data_prep.adopt import Adoption
from data_prep.adopt import adopt as adopt_shards
from data_prep.command_line import path
from data_prep.errors import DataError
from data_prep.manifest import NAME
from data_prep.output import Output
from data_prep.summary import summarize

EXAMPLES = """
apollo-prep adopt megatron/ --tokenizer tokenizer --out data/mine
apollo-prep adopt megatron/train --validation megatron/valid \\
    --tokenizer vocab.txt --out data/mine
"""


def adopt(
    shards: Annotated[
        list[str],
        typer.Argument(
            metavar="FOLDER|PREFIX", help="The shards: a folder of files PREFIX.bin and PREFIX.idx, or one such PREFIX."
        ),
    ],
    tokenizer: Annotated[
        str,
        typer.Option(
            metavar="TOKENIZER", help="The tokenizer that the shards were made with: its vocab.txt or folder."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            parser=path,
            help="The folder to write a manifest, the tokenizer and indexes to. The tokens stay where they are.",
        ),
    ],
    validation: Annotated[
        list[str] | None,
        typer.Option(metavar="PREFIX", help="Shards to hold out from training. May be given several times."),
    ] = None,
    validation_fraction: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION", help="The share of the documents to hold out from training.", show_default="0.01"
        ),
    ] = None,
) -> None:
    """Use shards from Megatron-LM, NeMo or gpt-neox.

    Training reads the folder that this writes as data=FOLDER.
    """
    start, console = time.monotonic(), Output(markup=False)
    if validation and validation_fraction is not None:
        raise DataError("--validation, --validation-fraction: give one of them")
    adoption = Adoption(
        shards=tuple(map(os.path.expanduser, shards)),
        tokenizer=os.path.expanduser(tokenizer),
        validation=tuple(map(os.path.expanduser, validation or ())),
        **({} if validation_fraction is None else {"validation_fraction": validation_fraction}),
    )
    summarize(adopt_shards(adoption, out, console), console)
    console.print(f"{time.monotonic() - start:.1f} s; {out / NAME}", highlight=False, soft_wrap=True)
