"""Ending a rank that has failed: first it says why, then it leaves without waiting for the others."""

import os
import sys
import traceback
from typing import NoReturn

from apollo_ds.engine.processes import Processes
from apollo_ds.errors import EXIT_USER_ERROR, UserError
from apollo_ds.training.console import RunConsole


def leave_at_once(error: Exception, processes: Processes, console: RunConsole) -> NoReturn:
    """Print an error and end this process. The launcher then ends the other ranks.

    It does not leave the process group first: that could take until NCCL's time limit, because ranks that wait in a
    collective operation do not answer. All ranks have the same `UserError`, so only the first prints it, in one line;
    the exit code is 2. Anything else is a traceback and exit code 1.
    """
    is_mistake = isinstance(error, UserError)
    try:
        console.stop()
        if not is_mistake:
            lines = traceback.format_exc().splitlines()
            sys.stderr.write("".join(f"[rank {processes.rank}] {line}\n" for line in lines))
        elif processes.is_first:
            sys.stderr.write(f"apollo-ds: {error}\n")
        sys.stdout.flush()
        sys.stderr.flush()
        processes.remove_shared_memory()
    finally:
        os._exit(EXIT_USER_ERROR if is_mistake else 1)
