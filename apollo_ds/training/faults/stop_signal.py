"""End a run between two steps when a signal asks for it, or when its launcher has died.

After SIGTERM, SIGUSR1 or SIGINT (Ctrl-C) on any one rank, all ranks finish the current step and the one after it, save,
and exit with `errors.EXIT_STOPPED`. The same signal a second time ends its process at once. `consensus.py` lets the
ranks agree to stop.
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
"""The environment variable by which `training/launch.py` passes process ids to its ranks: its own, then those of the
launchers that started it."""
_SECONDS_BETWEEN_LOOKS = 1.0


class StopRequest:
    """Whether a signal has told this rank to stop. No signal is heard before `listen`."""

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
        """Keep SIGUSR1 pending until `listen`. Processes that this one starts until then ignore the signal.

        SLURM sends the signal to child processes too, and would kill the one that reads the version from git.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])  # a blocked signal stays pending, even if ignored
        if signal.SIGUSR1 in signal.sigpending():  # `training/launch.py` starts ranks with it blocked
            self._note(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # this would drop a pending one

    def listen(self) -> None:
        """React to signals from now on, and watch the launchers of this process. Call it from the main thread."""
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        launchers = _launchers()
        if launchers:
            threading.Thread(target=self._watch, args=(launchers,), daemon=True).start()

    def ignore(self) -> None:
        """Ignore all signals during the exit. Launchers send some as soon as the first rank has ended."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        self._note(number)

    def _note(self, number: int) -> None:
        # The launcher passes on every signal to stop as SIGUSR1.
        passed_on = number == signal.SIGUSR1 and STARTED_BY in os.environ
        name = "a signal to stop" if passed_on else signal.Signals(number).name
        self.reason = f"{name} on {socket.gethostname()}"

    def _watch(self, launchers: list[int]) -> None:
        while all(_is_alive(launcher) for launcher in launchers):
            threading.Event().wait(_SECONDS_BETWEEN_LOOKS)
        self.reason = self.reason or f"the launcher on {socket.gethostname()} is gone"


def _launchers() -> list[int]:
    """The ids of the processes that started this rank. If one of them dies, nothing is left that could stop the run.

    `training/launch.py` passes them on. The launchers of DeepSpeed and torchrun are the ancestors of this process with
    the same script or module on their command line.
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
        pass  # an ancestor has ended meanwhile, which ends the search
    return found


def _is_alive(launcher: int) -> bool:
    """Whether a launcher is alive. A process that is younger than this one has only reused its number."""
    try:
        process = psutil.Process(launcher)
        is_older = process.create_time() <= psutil.Process().create_time()
        return is_older and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
