"""Ending a rank that has failed: first it says why, then it leaves without waiting for the others."""

import os
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
