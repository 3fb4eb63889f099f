"""Ending a rank: one that has failed says why and does not wait for the others; one that is done leaves at once."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from apollo_ds.errors import EXIT_OWN_FAULT
from apollo_ds.training.console import RunConsole
from apollo_ds.training.faults.last_words import say_last_words


def leave_at_once(error: Exception, console: RunConsole, folder: Path) -> NoReturn:
    """Say why this rank ends, unless another rank has said so, and end it. The launcher then ends the other ranks.

    It does not leave the process group first: that could take until NCCL's time limit, because ranks that wait in a
    collective operation do not answer. The traceback of a fault of our own goes to a file in the run's folder.
    """
    code = EXIT_OWN_FAULT
    try:
        console.stop()
        code = say_last_words(error, folder, has_joined=True)
    finally:
        os._exit(code)


def leave_when_done(code: int) -> NoReturn:
    """End a rank whose work is on disk, without Python's own end.

    Threads of libraries may still run then, and one that meets an interpreter that is gone aborts the process: a
    finished run would end with exit code 134.

    Raises:
        BrokenPipeError: nobody reads what it has said.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
