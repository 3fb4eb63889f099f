"""`apollo-prep build`: shards from text."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from data_prep import sources
from data_prep.build import build as build_shards
from data_prep.clean import NormalForm
from data_prep.command_line import path
from data_prep.errors import DataError
from data_prep.fast import Library
from data_prep.options import Deduplicate, Options
from data_prep.output import Output
from data_prep.span import FORMATS
from data_prep.summary import summarize
from data_prep.tasks import Task, encode_share, merge_shares

EXAMPLES = """
apollo-prep build --source docs --tokenizer wordpiece --vocab-size 8192 --out data/docs

apollo-prep build --source wiki=wikimedia/wikipedia:20231101.en --source books=books/ --tokenizer vocab.txt
--out data/wiki-books --workers 16
"""
_PARTS = "Several jobs on a shared folder"


Sources = Annotated[
    list[str],
    typer.Option(
        metavar="[NAME=]LOCATION",
        help=f"docs (the documentation on this machine), a file named {FORMATS}, a folder or glob of them, or a "
        "data set of the hub, ID or ID:CONFIG. Repeatable.",
    ),
]
Tokenizer = Annotated[
    str,
    typer.Option(metavar="TOKENIZER", help="wordpiece or bpe, which are trained, a vocab.txt, or a saved tokenizer."),
]
Out = Annotated[Path, typer.Option(metavar="FOLDER", parser=path, help="The folder for the shards.")]
VocabSize = Annotated[int, typer.Option(metavar="N", help="Tokens of a tokenizer that is trained.")]
TextColumn = Annotated[str, typer.Option(metavar="NAME", help="The column or JSON key of the text.")]
ValidationFraction = Annotated[
    float, typer.Option(metavar="FRACTION", help="The share of each source that is held out.")
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=W",
        help="Write the training documents of a source W times (2: twice; 0.5: half of them). Repeatable.",
    ),
]
Normalize = Annotated[NormalForm | None, typer.Option(help="A Unicode normal form to bring the text into.")]
MinCharacters = Annotated[int, typer.Option(metavar="N", help="Drop shorter documents.")]
DeduplicateHow = Annotated[
    Deduplicate | None,
    typer.Option(help="Drop documents equal to an earlier one (exact), or also those much like one (near)."),
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", help="Processes that encode; one a core by default.", show_default=False)
]
Encoder = Annotated[
    Library, typer.Option(help="The library that gives the ids; fastokens gives those of byte-level BPE faster.")
]
Part = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Encode only the I-th of N shares of the work (3/16), as one of several jobs; then --merge.",
        rich_help_panel=_PARTS,
    ),
]
Merge = Annotated[
    bool,
    typer.Option("--merge", help="Make the shards of what all parts have encoded.", rich_help_panel=_PARTS),
]


def build(
    source: Sources,
    tokenizer: Tokenizer,
    out: Out,
    vocab_size: VocabSize = 30522,
    text_column: TextColumn = "text",
    validation_fraction: ValidationFraction = 0.01,
    weight: Weights = None,
    normalize: Normalize = None,
    min_characters: MinCharacters = 1,
    deduplicate: DeduplicateHow = None,
    workers: Workers = None,
    encoder: Encoder = "tokenizers",
    part: Part = None,
    merge: Merge = False,
) -> None:
    """Make shards from text, or finish making them: a build that was stopped goes on by the same command."""
    start, console = time.monotonic(), Output(markup=False)  # names of files may have brackets
    if part is not None and merge:
        raise DataError("--part, --merge: give one of them; --merge comes when all parts are done")
    options = Options(
        sources=sources.parse(source),
        weights=_weights(weight or []),
        tokenizer=os.path.expanduser(tokenizer),
        vocab_size=vocab_size,
        text_column=text_column,
        validation_fraction=validation_fraction,
        normalize=normalize,
        min_characters=min_characters,
        deduplicate=deduplicate,
        encoder=encoder,
    )
    processes = len(os.sched_getaffinity(0)) if workers is None else workers
    if part is not None:
        encode_share(options, out, Task.parse(part), processes, console)
        return
    manifest = merge_shares(options, out, console) if merge else build_shards(options, out, processes, console)
    summarize(manifest, console)
    console.print(f"{time.monotonic() - start:.1f} s; {out / 'manifest.json'}", highlight=False, soft_wrap=True)


def _weights(arguments: list[str]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for argument in arguments:
        name, _, weight = argument.partition("=")
        try:
            number = float(weight)
        except ValueError:
            raise DataError(f"--weight {argument}: not NAME=NUMBER, such as books=2") from None
        if name in weights:
            raise DataError(f"--weight {argument}: {name} has the weight {weights[name]} already: give one")
        weights[name] = number
    return weights
