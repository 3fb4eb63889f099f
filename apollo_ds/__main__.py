"""The command line: `apollo-ds COMMAND`. Each command is a file in `commands/`."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from apollo_ds import __version__
from apollo_ds.commands import compare, export, finetune, init, keys, plan, runs, sweep, train
from apollo_ds.commands.arguments import LocalRank, repeated
from apollo_ds.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError
from apollo_ds.training.faults.last_words import say_last_words
from data_prep.command_line import Misused, call, new_app
from data_prep.output import UNREAD

app = new_app("Pretrain Transformers for a fraction of the compute, by growing them while they train.")
_TRAINING, _RESULTS = "Train", "Use what was trained"

for _command, _module, _panel in (
    (init.init, init, _TRAINING),
    (plan.plan, plan, _TRAINING),
    (train.train, train, _TRAINING),
    (keys.keys, keys, _TRAINING),
    (sweep.sweep, sweep, _TRAINING),
    (runs.runs, runs, _RESULTS),
    (export.export, export, _RESULTS),
    (compare.compare, compare, _RESULTS),
    (finetune.finetune, finetune, _RESULTS),
):
    app.command(epilog=f"Examples:\n\n{_module.EXAMPLES.strip()}", rich_help_panel=_panel)(_command)


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
    """Run a command. An error becomes one line on one rank, and an exit code that says whose it is (`errors.py`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the shell has closed it, as `>&-` does
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    words = repeated(sys.argv[1:] if arguments is None else arguments, compare.REPEATED | finetune.REPEATED)
    try:
        call(app, "apollo-ds", words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("apollo-ds: stopped", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more as it ends
        print(f"apollo-ds: {UNREAD}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except Misused as mistake:
        sys.exit(say_last_words(UserError(str(mistake))))
    except Exception as error:
        sys.exit(say_last_words(error))


if __name__ == "__main__":
    main()
