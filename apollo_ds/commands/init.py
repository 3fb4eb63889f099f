"""`apollo-ds init`: write a recipe for the user's own text and budget."""

from pathlib import Path
from typing import Annotated

import typer

from apollo_ds.commands.arguments import Ranks, command_line, one_of
from apollo_ds.commands.completions import beginning
from apollo_ds.errors import UserError
from apollo_ds.models.families import FAMILIES, USUAL
from apollo_ds.planning.budget import Budget
from data_prep.command_line import path
from data_prep.output import Output

EXAMPLES = """
apollo-ds init --data data/mine --budget 10m --out my.yaml
apollo-ds init --data data/mine --tokens 300M --like llama-160m --out my.yaml
"""


def init(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Option(metavar="FOLDER", parser=path, help="The folder of your text, as apollo-prep build wrote it."),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE.yaml", parser=path, help="The recipe to write. The file must not exist.")
    ],
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME|FLOPS",
            help="What training may cost: a time on this machine, such as 90s, 10m, 2h or 3d, or a number of "
            "floating-point operations, such as 3e18. Give either this or --tokens.",
        ),
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(metavar="N", help="How many tokens to train on, such as 300M or 2e9.")
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            parser=one_of(FAMILIES),
            help=f"The kind of model: {', '.join(FAMILIES)}.",
            show_default=USUAL,
            autocompletion=beginning(FAMILIES),
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(metavar="RECIPE", parser=path, help="Take the model of this recipe, such as llama-160m."),
    ] = None,
    ranks: Ranks = None,
) -> None:
    """Write a recipe for your text and budget.

    It measures this machine by a short run, then chooses the size of the model and the other keys. Comments in the
    recipe say why. Then `apollo-ds train` trains it.
    """
    if (budget is None) == (tokens is None):
        raise UserError("--budget, --tokens: give one of them, such as --budget 10m")
    if family and like:
        raise UserError("--family, --like: give one of them; --like takes the family of its recipe")
    allowed = Budget.read(budget) if budget is not None else Budget.read_tokens(tokens or "")
    from apollo_ds.training.new_recipe import Wish, new_recipe  # it imports torch

    new_recipe(Wish(data, out, allowed, family or USUAL, like, ranks), command_line(context), Output())
