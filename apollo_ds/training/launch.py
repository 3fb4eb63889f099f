"""Start the ranks of a run on this machine, and end them together.

Each rank is a process of its own, which runs `apollo-ds train` with RANK in its environment. The process that starts
the ranks waits for them and passes signals to stop on to them. If it is killed, the ranks notice it
(`faults/stop_signal.py`).
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from apollo_ds.errors import EXIT_HANG, EXIT_LOST_RANK, EXIT_OWN_FAULT, EXIT_STOPPED, EXIT_USER_ERROR, UserError
from apollo_ds.gpus import usual_ranks, visible_gpus
from apollo_ds.ranks import chosen_port
from apollo_ds.training.faults.stop_signal import STARTED_BY
from apollo_ds.training.threads import share_cores
from data_prep.counted import counted

_log = logging.getLogger(__name__)
HANDED_OVER_BY = "APOLLO_DS_HANDED_OVER_BY"
"""The environment variable in which `handover.py` passes the process ids of DeepSpeed's launchers, if they started this
process."""
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
_SECONDS_BETWEEN_LOOKS = 0.1
# When a rank has failed, the others usually fail too, and say why. Ranks that still wait for it are then ended.
_MEASURES = ((5.0, signal.SIGTERM), (10.0, signal.SIGKILL))
_SIGNALLED = 128
"""Shells add this to the number of the signal that ended a process, to get an exit code."""
_WHY = {
    signal.SIGKILL: ", as the kernel does when memory runs out; the same command resumes",
    signal.SIGBUS: ": a file that it had mapped was cut short, such as the text in the folder of `data`, or a disk or "
    "/dev/shm is full; mend that, and the same command resumes",
    signal.SIGSEGV: ", a fault in a library that is not written in Python; the same command resumes",
    signal.SIGABRT: " by a library that could not go on, and mostly says above why; the same command resumes",
    signal.SIGILL: ": a library was built for another processor; install it anew on this machine",
}
_TOLD_BY_RANKS = (EXIT_USER_ERROR, EXIT_OWN_FAULT, EXIT_STOPPED, EXIT_HANG)

_Rank = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Ranks:
    """The number of ranks that a run has on this machine, and their devices."""

    count: int
    on_gpus: bool

    @classmethod
    def of_this_machine(cls, wanted: int | None = None) -> "Ranks":
        """Return the wanted number of ranks, or else one for each GPU, or two on a machine without GPUs.

        Raises:
            UserError: the number is below 1, or greater than the number of GPUs.
        """
        gpus = len(visible_gpus())
        if wanted is None:
            wanted = usual_ranks()
        if type(wanted) is not int or wanted < 1:
            raise UserError(f"ranks: must be a whole number of at least 1, not {wanted!r}")
        if 0 < gpus < wanted:
            raise UserError(f"ranks: {wanted} are more than this machine's {counted(gpus, 'GPU')}; use at most {gpus}")
        return cls(wanted, gpus > 0)

    def environments(self) -> list[dict[str, str]]:
        """The environment of each rank."""
        shared = self._shared()
        return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(self.count)]

    def _shared(self) -> dict[str, str]:
        above = os.environ.get(HANDED_OVER_BY, "")
        environment = {
            **{name: value for name, value in os.environ.items() if name != HANDED_OVER_BY},
            **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_SIZE"), str(self.count)),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": chosen_port(),
            STARTED_BY: f"{os.getpid()} {above}".rstrip(),
        }
        package = Path(__file__).resolve().parents[2]
        if package.name not in ("site-packages", "dist-packages"):  # a checkout that is not installed
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
        if not self.on_gpus:
            environment["DS_ACCELERATOR"] = "cpu"
            share_cores(environment)
        return environment


@dataclass(frozen=True)
class End:
    """How the ranks ended."""

    code: int
    """The exit code of the first rank that failed for a reason of its own; 128 plus the number of a signal that ended
    it."""
    was_asked: bool
    """Whether this process received a signal to stop."""
    words: str | None = None
    """A sentence about the end, if no rank could print one itself."""


def launch(
    words: Sequence[str],
    ranks: Ranks,
    signals: Sequence[signal.Signals] = SIGNALS,
    output: IO[str] | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> End:
    """Run `apollo-ds train WORDS` on all ranks, and wait until they end. `meanwhile` is called repeatedly.

    At one of the signals, the ranks save and end. The same signal a second time kills them. Their output goes to
    `output`, or to this process's own output if that is None.
    """
    command = [sys.executable, "-u", "-P", "-m", "apollo_ds", "train", *words]
    started: list[_Rank] = []
    with _noted(signals) as heard:
        try:
            with _blocked(signal.SIGUSR1):  # a rank that still starts keeps it pending until it listens
                for environment in ranks.environments():
                    started.append(_start(command, environment, output))
            cause = _wait(started, heard, meanwhile)
        except BaseException:
            _tell(started, signal.SIGUSR1)
            raise
    if cause is None:
        return End(0, bool(heard))
    code = cause.returncode
    was_killed_on_request = len(heard) > 1 and code == -signal.SIGKILL
    told = None if was_killed_on_request else _words(started.index(cause), code)
    return End(code if code >= 0 else _SIGNALLED - code, bool(heard), told)


def _start(command: Sequence[str], environment: dict[str, str], output: IO[str] | None) -> _Rank:
    """Start a rank in a process group of its own, so that a terminal's signal reaches it only through this process."""
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        process_group=0,
    )


def _wait(started: Sequence[_Rank], heard: Sequence[int], meanwhile: Callable[[], None]) -> _Rank | None:
    """Wait until all ranks have ended. Returns the rank that failed for a reason of its own, or None."""
    failed: list[_Rank] = []
    failed_at = 0.0
    measures = list(_MEASURES)
    heeded: list[int] = []
    while True:
        running = _running(started)
        if len(measures) == len(_MEASURES):  # later failures are of ranks that were told to end
            failed += [rank for rank in started if rank.returncode and rank not in failed]
        if not running:
            break
        failed_at = failed_at or (time.monotonic() if failed else 0.0)
        if failed and measures and time.monotonic() - failed_at > measures[0][0]:
            _tell(started, measures.pop(0)[1])
        for number in heard[len(heeded) :]:
            if number in heeded:
                _tell(started, signal.SIGKILL)
            elif not heeded:
                _log.info("stopping: the run saves first; the same signal again ends it at once")
                _tell(started, signal.SIGUSR1)
            heeded.append(number)
        meanwhile()
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    meanwhile()
    return next((rank for rank in failed if rank.returncode != EXIT_LOST_RANK), failed[0] if failed else None)


def _words(rank: int, code: int) -> str | None:
    """A sentence about the rank whose end was the first cause; None if ranks print one themselves."""
    if code in _TOLD_BY_RANKS:
        return None
    if code == EXIT_LOST_RANK:
        return "the ranks lost their connection to each other; the same command resumes"
    if code > 0:
        return f"rank {rank} ended with exit code {code}; the same command resumes"
    number = signal.Signals(-code)
    return f"rank {rank} was ended by {number.name}{_WHY.get(number, '; the same command resumes')}"


def _running(ranks: Sequence[_Rank]) -> list[_Rank]:
    return [rank for rank in ranks if rank.poll() is None]


def _tell(ranks: Sequence[_Rank], number: signal.Signals) -> None:
    for rank in ranks:
        rank.send_signal(number)  # does nothing if the rank has ended


@contextmanager
def _noted(signals: Sequence[signal.Signals]) -> Iterator[list[int]]:
    """Yield a list to which signals are added as they arrive. Ignored signals, as under nohup, stay ignored."""
    heard: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        heard.append(number)

    if threading.current_thread() is not threading.main_thread():  # other threads get no signals
        yield heard
        return
    before = {number: signal.getsignal(number) for number in signals}
    caught = [number for number, handler in before.items() if handler != signal.SIG_IGN]
    for number in caught:
        signal.signal(number, note)
    try:
        yield heard
    finally:
        for number in caught:
            signal.signal(number, before[number])


@contextmanager
def _blocked(number: signal.Signals) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
