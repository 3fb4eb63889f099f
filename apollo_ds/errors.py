"""What a caller of the package has to know of: the user's mistakes, and other ends of a run than its own."""

import reprlib
from typing import Any

_LONGEST = 1500
"""Characters of a message; what is longer loses its middle."""
_LONGEST_VALUE = 300
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_SHORT.maxlist = _SHORT.maxtuple = 12


def shown(value: Any) -> str:
    """A user's value within a message: as Python writes it, and cut where that is long."""
    return _cut(_SHORT.repr(value), _LONGEST_VALUE)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 2 :]}"


class UserError(Exception):
    """A mistake in the recipe, the data or the machine's set-up.

    Its message is one sentence that names the file or key and the fix. It is one line of about 1,500 characters at
    most, whatever it quotes. The command line prints it without a traceback, on one rank, and exits with code 2.
    """

    def __init__(self, message: str) -> None:
        line = message
        if not line.isprintable():
            line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        super().__init__(_cut(line, _LONGEST))


class Stopped(Exception):
    """The run was asked to stop, and has saved. The same call goes on with it."""


class RunFailed(Exception):
    """A rank died or hung. The message says how; the same call goes on from the last checkpoint."""


EXIT_USER_ERROR = 2
"""A `UserError`."""
EXIT_OWN_FAULT = 70
"""EX_SOFTWARE of sysexits.h: an error that is no mistake of the user's. One line names the file with the traceback."""
EXIT_LOST_RANK = 76
"""EX_PROTOCOL of sysexits.h: another rank was gone. How that one ended is what matters."""
EXIT_HANG = 124
"""As `timeout` reports it: a rank made no progress."""
EXIT_STOPPED = 75
"""EX_TEMPFAIL of sysexits.h: the run was told to stop and has saved a checkpoint. The same command resumes it."""
EXIT_INTERRUPTED = 130
"""As a shell reports a process that Ctrl-C has ended."""
