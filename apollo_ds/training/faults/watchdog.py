"""Ending a job in which a rank hangs, with every rank's stack, instead of waiting for ever."""

import faulthandler
import os
import socket
import sys
import tempfile
import threading
import time

from apollo_ds.errors import EXIT_HANG

_GRACE_SECONDS = 10.0
"""Between a rank's stack and its exit. Others print theirs meanwhile: the launcher kills them once one has exited."""


class Watchdog:
    """A thread that ends the process, after printing all its stacks, when no progress was reported for long enough."""

    def __init__(self, rank: int, limit: float) -> None:
        self.rank = rank
        self.limit = limit
        self._last = time.monotonic()
        self._doing = "start"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def progress(self, doing: str) -> None:
        """Report that this rank is alive and begins to do something, such as `step 12`."""
        self._doing = doing
        self._last = time.monotonic()

    def close(self) -> None:
        """Stop watching."""
        self._over.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        while not self._over.wait(min(1.0, self.limit / 10)):
            # In case the rank hangs while it holds the interpreter's lock, so that this thread cannot run either.
            faulthandler.dump_traceback_later(self.limit + _GRACE_SECONDS, exit=True)
            silent = time.monotonic() - self._last
            if silent > self.limit:
                self._report(silent)
                time.sleep(_GRACE_SECONDS)
                os._exit(EXIT_HANG)

    def _report(self, silent: float) -> None:
        with tempfile.TemporaryFile("w+") as stacks:
            faulthandler.dump_traceback(stacks)
            stacks.seek(0)
            lines = [
                f"no progress for {silent:.0f} s in {self._doing}; on {socket.gethostname()}, process {os.getpid()}:",
                *stacks.read().splitlines(),
            ]
        # At once, so that ranks do not write into each other's lines.
        sys.stderr.write("".join(f"[rank {self.rank}] {line}\n" for line in lines))
        sys.stderr.flush()
