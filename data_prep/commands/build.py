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
apollo-prep build --source docs --tokenizer wordpiece --out data/wordpiece
apollo-prep build --source books/ --tokenizer bpe --out data/books
apollo-prep build --source wiki=wikimedia/wikipedia:20231101.en \\
    --source books=books/ --tokenizer vocab.txt --out data/wiki-books
"""
_TEXT, _PARTS = "Which text", "Several jobs on a shared folder"


Sources = Annotated[
    list[str],
    typer.Option(
        metavar="[NAME=]TEXT",
        help=f"Where text is: a file named {FORMATS}; a folder of such files, or a glob; a data set of the Hugging "
        "Face hub, as ID or ID:CONFIG; or docs, the documentation on this machine. May be given several times.",
    ),
]
Tokenizer = Annotated[
    str,
    typer.Option(
        metavar="TOKENIZER",
        help="wordpiece or bpe train a new tokenizer on the text. A vocab.txt, or the folder of a saved tokenizer, is "
        "used as it is.",
    ),
]
Out = Annotated[Path, typer.Option(metavar="FOLDER", parser=path, help="The folder to write the shards to.")]
VocabSize = Annotated[int, typer.Option(metavar="N", help="How many tokens a new tokenizer gets.")]
TextColumn = Annotated[
    str, typer.Option(metavar="NAME", help="The column of .parquet or key of .jsonl that holds the text.")
]
ValidationFraction = Annotated[
    float, typer.Option(metavar="FRACTION", help="The share of each source's documents to hold out from training.")
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=W",
        help="Write the training documents of the source NAME W times: 2 is twice, 0.5 half of them. May be given "
        "several times.",
        rich_help_panel=_TEXT,
    ),
]
Normalize = Annotated[
    NormalForm | None,
    typer.Option(metavar="NFC|NFKC", help="Bring the text into this Unicode normal form first.", rich_help_panel=_TEXT),
]
MinCharacters = Annotated[
    int, typer.Option(metavar="N", help="Leave out documents of fewer characters.", rich_help_panel=_TEXT)
]
DeduplicateHow = Annotated[
    Deduplicate | None,
    typer.Option(
        metavar="exact|near",
        help="Leave out documents that are equal to an earlier one (exact), or also those that are much like one "
        "(near).",
        rich_help_panel=_TEXT,
    ),
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", help="How many processes encode.", show_default="one for each core")
]
Encoder = Annotated[
    Library,
    typer.Option(
        metavar="tokenizers|fastokens",
        help="The library that encodes. The tokens are the same; fastokens is faster for byte-level BPE.",
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Encode only the I-th of N parts of the text, such as 3/16. Each job takes another part; --merge ends it.",
        rich_help_panel=_PARTS,
    ),
]
Merge = Annotated[
    bool,
    typer.Option("--merge", help="Make the shards, once all parts are encoded.", rich_help_panel=_PARTS),
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
    """Make shards from text.

    The same command goes on with a build that was stopped. Training reads the folder as data=FOLDER.
    """
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
