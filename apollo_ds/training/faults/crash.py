"""Ending a rank that has failed: first it says why, then it leaves without waiting for the others."""

import os
import sys
import traceback
from typing import NoReturn

from apollo_ds.engine.processes import Processes
from apollo_ds.errors import EXIT_USER_ERROR, UserError


def leave_at_once(error: Exception, processes: Processes) -> NoReturn:
    """Print an error and end this process. The launcher then ends the other ranks.

    Parting from them in order could take until NCCL's time limit: one that waits in a collective operation does not
    answer. A `UserError` is one line, from the first rank, since all ranks have it; anything else is a traceback. The
    exit code is 2 or 1.
    """
    is_mistake = isinstance(error, UserError)
    if not is_mistake:
        lines = traceback.format_exc().splitlines()
        sys.stderr.write("".join(f"[rank {processes.rank}] {line}\n" for line in lines))
    elif processes.is_first:
        sys.stderr.write(f"apollo-ds: {error}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    processes.remove_shared_memory()
    os._exit(EXIT_USER_ERROR if is_mistake else 1)
