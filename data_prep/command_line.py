"""What both commands share: a typer app whose mistakes are one sentence, and arguments that are paths."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.exceptions import TyperException


class Misused(Exception):
    """Words that a command does not take. The message is one sentence that says which, and what is meant."""


def new_app(about: str) -> typer.Typer:
    """An app with completion, without tracebacks of its own; its help looks the same for both commands."""
    return typer.Typer(
        help=about,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def call(app: typer.Typer, program: str, words: Sequence[str]) -> None:
    """Run the command that the words name; without words, show what there is. A context's `obj` is the words.

    Raises:
        Misused: there is no such command or option, or it takes other values.
        SystemExit: the words asked for help or a completion, or the command ends with a code of its own.
    """
    command = typer.main.get_command(app)
    if f"_{program.upper().replace('-', '_')}_COMPLETE" in os.environ:
        command(prog_name=program)  # it answers the shell, and ends
    try:
        # Not by calling it: that would take a reader that has ended, and Ctrl-C, for itself.
        with command.make_context(program, list(words) or ["--help"], obj=list(words)) as context:
            command.invoke(context)
    except typer.Exit as end:
        raise SystemExit(end.exit_code) from None
    except TyperException as mistake:
        raise Misused(_sentence_of(mistake, program)) from None


def _sentence_of(mistake: TyperException, program: str) -> str:
    """`no such option: --rnaks; did you mean --ranks? See apollo-ds train --help`."""
    context: Any = getattr(mistake, "ctx", None)
    near = getattr(mistake, "possibilities", None)
    said = mistake.message if near else mistake.format_message()
    said = re.sub("^Invalid value for '(.+?)':", r"\1:", " ".join(said.split())).rstrip(".")
    said = said if said[1:2].isupper() else said[:1].lower() + said[1:]
    if near:
        said += f"; did you mean {' or '.join(sorted(near))}?"
    end = "" if said.endswith("?") else ";"
    see = "See" if said.endswith("?") else "see"
    return f"{said}{end} {see} {context.command_path if context else program} --help"


def path(word: str) -> Path:
    """A path that a user typed; no shell expands `~` in `--out=~/text`.

    Raises:
        BadParameter: it is empty, as a variable of the shell that is not set is.
    """
    if not word:
        raise typer.BadParameter("is empty; name a file or folder")
    return Path(os.path.expanduser(word))
