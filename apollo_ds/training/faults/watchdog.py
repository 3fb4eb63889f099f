"""End a job in which a rank hangs, and print the stacks of all ranks, instead of waiting for ever."""

import faulthandler
import os
import socket
import sys
import tempfile
import threading
import time
from enum import StrEnum

from apollo_ds.config.recipe import Recipe
from apollo_ds.errors import EXIT_HANG
from apollo_ds.training.run_log import past_live_line, stamped

_GRACE_SECONDS = 10.0
"""The time between printing a rank's stacks and its exit. The other ranks print theirs in that time, since the launcher
kills them once one has exited."""

_STDERR = 2
"""The file descriptor of stderr. In a notebook, `sys.stderr` may have none."""


class Limit(StrEnum):
    """The recipe's key for how long something may go on without progress."""

    SETUP = "setup_hang_seconds"
    STEP = "hang_seconds"
    SAVE = "save_hang_seconds"


class Watchdog:
    """A thread that prints all stacks and ends the process if no progress has been reported for too long.

    It watches nothing before `start`.
    """

    def __init__(self, who: str) -> None:
        """`who` is the beginning of its output lines, such as `rank 3`."""
        self.who = who
        self._seconds: dict[Limit, float] = {limit: Recipe.model_fields[limit].default for limit in Limit}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self.progress("start", Limit.SETUP)

    def start(self) -> None:
        """Watch this process from now on. Until `heed`, the default limits apply."""
        self._end_if_stuck(self._seconds[self._now[1]])
        self._thread.start()

    def heed(self, recipe: Recipe) -> None:
        """Use a recipe's limits from now on."""
        self._seconds = {limit: getattr(recipe, limit) for limit in Limit}

    def progress(self, doing: str, limit: Limit = Limit.STEP) -> None:
        """Report that this rank begins something, such as `step 12`.

        `limit` is the recipe's key for the time that it may take.
        """
        self._now = doing, limit, time.monotonic()

    def close(self) -> None:
        """Stop watching."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        while not self._over.wait(min(1.0, self._seconds[self._now[1]] / 10)):
            doing, limit, since = self._now
            seconds, silent = self._seconds[limit], time.monotonic() - since
            self._end_if_stuck(seconds)
            if silent > seconds:
                self._report(f"no progress for {silent:.0f} s in {doing} ({limit} is {seconds:g})")
                time.sleep(_GRACE_SECONDS)
                os._exit(EXIT_HANG)

    @staticmethod
    def _end_if_stuck(seconds: float) -> None:
        """Have C code end the process later. No Python thread can if the rank hangs with the interpreter's lock."""
        faulthandler.dump_traceback_later(seconds + _GRACE_SECONDS, file=_STDERR, exit=True)

    def _report(self, what: str) -> None:
        with tempfile.TemporaryFile("w+") as stacks:
            faulthandler.dump_traceback(stacks)
            stacks.seek(0)
            text = f"{what}; on {socket.gethostname()}, process {os.getpid()}:\n{stacks.read()}"
        # In one write, so that the lines of several ranks do not mix.
        sys.stderr.write(f"{past_live_line(sys.stderr)}{stamped(text, self.who)}\n")
        sys.stderr.flush()
