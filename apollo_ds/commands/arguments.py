"""Arguments that several commands take."""

import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from apollo_ds.commands.completions import keys_and_recipes, runs
from apollo_ds.config.array_list import SIGN
from apollo_ds.config.packaged import DEFAULT_RECIPE, recipe_names
from apollo_ds.errors import UserError
from data_prep.command_line import path
from data_prep.did_you_mean import choice

KEYS = "keys"
"""The name of the argument of `key=value` words in usage lines and messages."""
Recipe = Annotated[
    str | None,
    typer.Argument(
        metavar="RECIPE",
        help=f"A YAML file, or a recipe of the package: {', '.join(recipe_names())}. In a task of a SLURM array also "
        f"{SIGN}LIST, a file with one line of words for each task.",
        show_default=DEFAULT_RECIPE.stem,
        autocompletion=keys_and_recipes,
    ),
]
Keys = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="key=value",
        help="Keys of the recipe to change, such as steps=500 or method=sprout. `apollo-ds keys` explains all keys.",
        autocompletion=keys_and_recipes,
    ),
]
LocalRank = Annotated[str | None, typer.Option("--local_rank", hidden=True)]
"""DeepSpeed's launcher adds this option. It is ignored: the rank comes from the environment."""
Run = Annotated[
    Path,
    typer.Argument(metavar="RUN", parser=path, help="The folder of a run, such as runs/demo.", autocompletion=runs),
]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="The folder of a run, an exported model, or a model that transformers saved.",
        autocompletion=runs,
    ),
]
Step = Annotated[
    int | None,
    typer.Option(metavar="N", help="If it is a run: the step of its checkpoint.", show_default="the newest"),
]
Ranks = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="How many processes to train with.",
        show_default="one for each GPU, or two on a machine without",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]


def words_of(recipe: str | None, keys: Sequence[str] | None) -> list[str]:
    """The recipe and the keys as they were typed. The first word may be either."""
    return [*([] if recipe is None else [recipe]), *(keys or [])]


def words_or_stdin(words: Sequence[str] | None, what: str) -> list[str]:
    """The texts that the user typed. `-`, or no text, stands for what is piped in.

    Raises:
        UserError: there is no text, or a text is not UTF-8.
    """
    if not words and sys.stdin.isatty():
        raise UserError(f"{what}: is missing; write it behind the model, or pipe it in")
    try:
        texts = [sys.stdin.read().rstrip("\n") if word == "-" else word for word in words or ["-"]]
        for text in texts:
            text.encode()  # Python keeps bytes that are not UTF-8 as halves of surrogate pairs, which fail here
    except UnicodeError:
        raise UserError(f"{what}: is not UTF-8; convert it with `iconv`, or cut it between characters") from None
    return texts


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """A parser for one of these names. For any other word its message suggests a name."""
    known = list(names)

    def name(word: str) -> str:
        if word not in known:
            raise typer.BadParameter(f"there is no {word}; {choice(known, word)}")
        return word

    return name


def command_line(context: typer.Context) -> str:
    """The words that the user typed, quoted for a shell."""
    return shlex.join(["apollo-ds", *context.find_root().obj])
