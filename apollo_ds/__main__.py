"""The command line: `apollo-ds COMMAND`. Each command is a file in `commands/`."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from apollo_ds import __version__
from apollo_ds.commands import GROUPS
from apollo_ds.commands.arguments import LocalRank
from apollo_ds.commands.other_words import explain
from apollo_ds.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError
from apollo_ds.training.faults.last_words import say_last_words
from data_prep.command_line import call, new_app
from data_prep.misuse import Misused
from data_prep.output import UNREAD
from data_prep.program import Commands


class _Commands(Commands):
    package = "apollo_ds.commands"
    groups = GROUPS
    prose = ("fill", "generate")

    def explain(self, word: str, context: Any) -> str | None:
        return explain(word, context)


app = new_app(
    "Pretrain Transformers by growing them while they train. apollo-prep prepares the text for it.",
    _Commands,
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"apollo-ds {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    local_rank: LocalRank = None,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. An error becomes one line on one rank, and an exit code that tells its kind (see `errors.py`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the shell has closed it, as `>&-` does
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    try:
        call(app, "apollo-ds", sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("apollo-ds: stopped", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it again when it ends
        print(f"apollo-ds: {UNREAD}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except Misused as mistake:
        sys.exit(say_last_words(UserError(str(mistake))))
    except Exception as error:
        sys.exit(say_last_words(error))


if __name__ == "__main__":
    main()
