"""End a rank. A rank that has failed says why and does not wait for the others. A finished rank exits at once."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from apollo_ds.errors import EXIT_OWN_FAULT
from apollo_ds.training.console import RunConsole
from apollo_ds.training.faults.last_words import say_last_words


def leave_at_once(error: Exception, console: RunConsole, folder: Path) -> NoReturn:
    """End this rank, and say why unless another rank has said it. The launcher then ends the other ranks.

    The rank does not leave the process group first. That could take until NCCL's time limit, because ranks that wait in
    a collective operation do not answer. For an internal error the traceback goes to a file in the run's folder.
    """
    code = EXIT_OWN_FAULT
    try:
        console.stop()
        code = say_last_words(error, folder, has_joined=True)
    finally:
        os._exit(code)


def leave_when_done(code: int) -> NoReturn:
    """Exit with a code at once, without Python's normal shutdown. All work must be on disk.

    In a normal shutdown, a library's thread that still runs may find the interpreter gone and abort the process. A
    finished run would then end with exit code 134.

    Raises:
        BrokenPipeError: the reader of the output has gone.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
