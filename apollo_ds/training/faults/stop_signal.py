"""Ending a run between two steps when a signal asks for it, or when its launcher has died.

SIGTERM, SIGUSR1 and SIGINT (Ctrl-C) on any one rank lead all of them to finish the step after the one they are in, to
save, and to exit with `errors.EXIT_STOPPED`. The same signal a second time ends its process at once.
How the ranks agree to stop is in `consensus.py`.
"""

import os
import signal
import socket
import sys
import threading
from pathlib import Path
from types import FrameType

import psutil

from apollo_ds.errors import UserError

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
STARTED_BY = "APOLLO_DS_STARTED_BY"
"""The variable in which `training/launch.py` tells its ranks its own process id, then those that it was started by."""
_SECONDS_BETWEEN_LOOKS = 1.0


class StopRequest:
    """Whether this rank has been asked to stop. Nothing asks until `listen`."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def check_launcher(self) -> None:
        """Check that the launcher is still alive.

        Raises:
            UserError: the launcher has died already.
        """
        if not all(_is_alive(launcher) for launcher in _launchers()):
            raise UserError("the launcher was ended before training began")

    def hold(self) -> None:
        """Keep SIGUSR1 pending until `listen`. Processes that this one starts until then ignore it.

        SLURM sends it to all of them, and one that reads the version from git would die of it.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])  # blocked, it waits, even if ignored
        if signal.SIGUSR1 in signal.sigpending():  # `training/launch.py` has it blocked from the start
            self._note(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # one that is pending already is forgotten by this

    def listen(self) -> None:
        """Heed signals, and watch the launchers above this process. Call it from the main thread."""
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        launchers = _launchers()
        if launchers:
            threading.Thread(target=self._watch, args=(launchers,), daemon=True).start()

    def ignore(self) -> None:
        """Let no signal disturb an exit that is under way: launchers send some when a first rank has ended."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        self._note(number)

    def _note(self, number: int) -> None:
        # By this one the launcher passes on whichever it has heard.
        passed_on = number == signal.SIGUSR1 and STARTED_BY in os.environ
        name = "a signal to stop" if passed_on else signal.Signals(number).name
        self.reason = f"{name} on {socket.gethostname()}"

    def _watch(self, launchers: list[int]) -> None:
        while all(_is_alive(launcher) for launcher in launchers):
            threading.Event().wait(_SECONDS_BETWEEN_LOOKS)
        self.reason = self.reason or f"the launcher on {socket.gethostname()} is gone"


def _launchers() -> list[int]:
    """The processes that started this rank. When one of them dies, nobody is left to stop the run.

    `training/launch.py` tells them. Those of DeepSpeed and torchrun are the ancestors of this process that were given
    the same script or module.
    """
    if STARTED_BY in os.environ:
        return [int(process) for process in os.environ[STARTED_BY].split()]
    script = Path(sys.argv[0])
    started = script.parent.name if script.name == "__main__.py" else sys.argv[0]
    found = []
    try:
        for ancestor in psutil.Process().parents():
            if started not in ancestor.cmdline():
                break
            found.append(ancestor.pid)
    except psutil.Error:
        pass  # one of them ended while we looked, and with it the search
    return found


def _is_alive(launcher: int) -> bool:
    """Whether it is; a process that is younger than this one has only got its number."""
    try:
        process = psutil.Process(launcher)
        is_older = process.create_time() <= psutil.Process().create_time()
        return is_older and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
