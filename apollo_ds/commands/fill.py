"""`apollo-ds fill`: a masked model fills in words."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from apollo_ds.commands.arguments import Json, Model, Step, words_or_stdin
from data_prep.output import Output

EXAMPLES = """
apollo-ds fill runs/mine "The capital of France is [MASK]."
apollo-ds fill runs/mine "The [MASK] sat on the [MASK]." --top 1 | cut -f 2
"""


def fill(
    model: Model,
    sentences: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SENTENCE",
            help="Words with [MASK] among them. Without it, or with -, the input is read from a pipe.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="How many tokens to show for each mask.")] = 5,
    step: Step = None,
    as_json: Json = False,
) -> None:
    """Let a masked model fill in the words that a sentence leaves out.

    It shows the likeliest tokens for each mask. When it prints to a pipe, a line has the number of a mask, a token and
    its probability, with tabs between them.
    """
    texts = words_or_stdin(sentences, "SENTENCE")
    from apollo_ds.inference.filling import fill as filled_in
    from apollo_ds.inference.loaded_model import LoadedModel, Task
    from apollo_ds.inference.model_folder import model_folder

    with model_folder(model, step) as source:
        loaded = LoadedModel.load(model, source, Task.FILL_IN)
    filled = [filled_in(loaded, text, top) for text in texts]
    if as_json:
        print(json.dumps([asdict(one) for one in filled], indent=2, ensure_ascii=False))
        return
    from apollo_ds.inference.filled_table import print_filled

    print_filled(filled, Output())
