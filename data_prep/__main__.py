"""The command line: `apollo-prep COMMAND`. Each command is a file in `commands/`."""

import io
import os
import re
import sys
from typing import NoReturn

from data_prep.command_line import call, new_app
from data_prep.commands import GROUPS
from data_prep.errors import DataError
from data_prep.misuse import Misused
from data_prep.output import UNREAD
from data_prep.own_fault import sentence_of, tell_own_fault
from data_prep.program import Commands


class _Commands(Commands):
    package = "data_prep.commands"
    groups = GROUPS


app = new_app("Prepare text for training: make memory-mapped shards of tokens from it.", _Commands)


@app.callback()
def _options() -> None:
    pass


def main() -> None:
    """Run the command line.

    If the input is wrong or the machine lacks something, it prints one sentence and exits with code 2. After a fault
    of its own it prints one line and exits with code 70.
    """
    words = sys.argv[1:]
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # the text may have a character that the terminal cannot show
        _check_encoding(words)
        call(app, "apollo-prep", words)
        if sys.stdout:  # None if the shell closed it, as `>&-` does
            sys.stdout.flush()
    except (DataError, Misused) as error:
        _end(f"apollo-prep: {error}", 2)
    except KeyboardInterrupt:
        _end("apollo-prep: stopped; the same command continues", 130)
    except BrokenPipeError:  # as under `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python writes what is left when it ends
        _end(f"apollo-prep: {UNREAD}", 2)
    except Exception as error:
        if sentence := sentence_of(error):
            _end(f"apollo-prep: {sentence}", 2)
        _end(tell_own_fault("apollo-prep", error), os.EX_SOFTWARE)


def _check_encoding(arguments: list[str]) -> None:
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise DataError(f"{argument!a} is not UTF-8: rename the file or folder") from None


def _end(line: str, code: int) -> NoReturn:
    """Print one line and end. Characters of file names that would break the line are replaced."""
    print(re.sub(r"[\0-\x1f\x7f]", lambda control: repr(control[0])[1:-1], line), file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
