"""The errors that a caller of the package can meet, and the exit codes of the command line."""

import reprlib
from typing import Any

_LONGEST = 1500
"""The most characters of a message. A longer one loses its middle."""
_LONGEST_VALUE = 300
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_SHORT.maxlist = _SHORT.maxtuple = 12


def shown(value: Any) -> str:
    """A user's value for a message: as Python writes it, with its middle cut out if it is long."""
    return _cut(_SHORT.repr(value), _LONGEST_VALUE)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 2 :]}"


class UserError(Exception):
    """A mistake in the recipe, the data or the machine's set-up.

    Its message is one sentence that names the file or key and the fix. The command line prints it without a
    traceback, on one rank, and exits with code 2. Line breaks in the message are escaped, and the middle of a very
    long message is cut out.
    """

    def __init__(self, message: str) -> None:
        line = message
        if not line.isprintable():
            line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        super().__init__(_cut(line, _LONGEST))


class Stopped(Exception):
    """The run was told to stop, and has saved a checkpoint. The same call resumes it."""


class RunFailed(Exception):
    """A rank died or hung. The message says how. The same call resumes the run from its last checkpoint."""


EXIT_USER_ERROR = 2
"""A `UserError`."""
EXIT_OWN_FAULT = 70
"""EX_SOFTWARE of sysexits.h: an error that the user did not cause. One line names the file with the traceback."""
EXIT_LOST_RANK = 76
"""EX_PROTOCOL of sysexits.h: another rank ended first. The exit code of that rank tells the cause."""
EXIT_HANG = 124
"""The code of the command `timeout`: a rank made no progress."""
EXIT_STOPPED = 75
"""EX_TEMPFAIL of sysexits.h: the run was told to stop and has saved a checkpoint. The same command resumes it."""
EXIT_INTERRUPTED = 130
"""The code that a shell reports for a process that Ctrl-C has ended."""
