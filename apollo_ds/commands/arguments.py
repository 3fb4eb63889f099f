"""Arguments that several commands take."""

import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from apollo_ds.by_name import choice
from apollo_ds.config.array_list import SIGN
from apollo_ds.config.packaged import DEFAULT_RECIPE
from apollo_ds.errors import UserError
from data_prep.command_line import path

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RECIPE key=value",
        help=f"A YAML file, or the name of one of the package's ({DEFAULT_RECIPE.stem} by default), and keys to change."
        f" {SIGN}LIST: the words of this task's line in LIST, for an array of SLURM's.",
        show_default=False,
    ),
]
LocalRank = Annotated[str | None, typer.Option("--local_rank", hidden=True)]
"""DeepSpeed's launcher adds it behind the script, or behind a module. The rank comes from the environment."""
Run = Annotated[Path, typer.Argument(metavar="RUN", parser=path, help="A run's folder, such as runs/demo.")]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A run's folder, an exported model, or a checkpoint of transformers.")
]
Step = Annotated[
    int | None, typer.Option(metavar="N", help="Of a run, the step of the checkpoint; by default the newest.")
]
Ranks = Annotated[
    int | None, typer.Option(metavar="N", help="How many processes. By default one for each GPU, or two on a CPU.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """A reader of one of these names, which says what is meant where another is given."""
    known = list(names)

    def name(word: str) -> str:
        if word not in known:
            raise typer.BadParameter(f"there is no {word}; {choice(known, word)}")
        return word

    return name


def command_line(context: typer.Context) -> str:
    """The words that the user typed, as a shell takes them."""
    return shlex.join(["apollo-ds", *context.find_root().obj])


def words_or_stdin(words: Sequence[str] | None, what: str) -> list[str]:
    """The texts that the user typed; `-`, or none at all, is what is piped in.

    Raises:
        UserError: there is none, or what is piped in is no text.
    """
    if not words and sys.stdin.isatty():
        raise UserError(f"{what}: is missing; write it behind the model, or pipe it in")
    try:
        texts = [sys.stdin.read().rstrip("\n") if word == "-" else word for word in words or ["-"]]
        for text in texts:
            text.encode()  # bytes that are no text stand in a command's words as half characters
    except UnicodeError:
        raise UserError(f"{what}: is no text in UTF-8; convert it with `iconv`, or cut it between characters") from None
    return texts


def repeated(words: Sequence[str], options: frozenset[str]) -> list[str]:
    """`--seeds 1 2` as `--seeds 1 --seeds 2`, for these options; a shell gives `--frontier runs/*` so."""
    spread: list[str] = []
    option, has_value = "", False
    for word in words:
        if word.startswith("-"):
            option, has_value = (word if word in options else ""), False
        elif option and has_value:
            spread.append(option)
        else:
            has_value = bool(option)
        spread.append(word)
    return spread
