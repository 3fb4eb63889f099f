"""What `apollo-ds` and `apollo-prep` share: an app that reports a mistake in one sentence, and arguments for paths."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import typer
from typer.exceptions import TyperException

from data_prep.completion import answer_shell
from data_prep.misuse import Misused, check_characters, sentence_of
from data_prep.plain import is_plain
from data_prep.program import Commands


def new_app(about: str, commands: type[Commands]) -> typer.Typer:
    """A typer app with these commands and with shell completion. typer prints no tracebacks of its own."""
    return typer.Typer(
        help=about,
        cls=commands,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={
            "help_option_names": ["-h", "--help"],
            "color": False if is_plain() else None,
        },
    )


def call(app: typer.Typer, program: str, words: Sequence[str]) -> None:
    """Run the command that the words name. Without words, show the help. The words become the context's `obj`.

    Raises:
        Misused: there is no such command or option, or a value is wrong.
        SystemExit: the words asked for help or a completion, or the command ended with an exit code of its own.
    """
    command = cast(Commands, typer.main.get_command(app))
    answer_shell(command, program)
    check_characters(words, are_prose=bool(words) and words[0] in command.prose)
    asked = [*words[1:], "--help"] if words[:1] == ["help"] else list(words) or ["--help"]
    try:
        # The app itself is not called: it would handle Ctrl-C and a closed pipe in its own way.
        with command.make_context(program, asked, obj=list(words)) as context:
            command.invoke(context)
    except typer.Exit as end:
        raise SystemExit(end.exit_code) from None
    except TyperException as mistake:
        raise Misused(sentence_of(mistake, program)) from None


def path(word: str) -> Path:
    """A path that a user typed. It expands `~`, which a shell does not do in `--out=~/text`.

    Raises:
        BadParameter: the path is empty, such as that of a shell variable that is not set.
    """
    if not word:
        raise typer.BadParameter("is empty; name a file or folder")
    return Path(os.path.expanduser(word))
