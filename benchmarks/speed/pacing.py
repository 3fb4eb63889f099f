"""Training loops side by side, each in a process of its own: it runs as many steps as it is told to, then waits."""

import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch

from apollo_ds.engine.processes import Processes


class Gate(Protocol):
    """What a timed loop calls."""

    def gate(self) -> None:
        """Called at the start of each step."""

    def step_ended(self) -> None:
        """Called at the end of each step, by loops that do more than steps."""


class Pace:
    """A loop's end of the pipe. It calls `gate` at the start of each of its steps."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._steps_left = 0
        self._began = self._step_ended = 0.0

    def gate(self) -> None:
        """Wait here until another step is wanted."""
        if self._steps_left == 0:
            self.report()
            self._steps_left = self._pipe.recv()
            self._began = time.perf_counter()
        self._steps_left -= 1

    def step_ended(self) -> None:
        """Note when the last step that was wanted has been done; only for loops that do more than steps."""
        if self._steps_left == 0:
            finish_on_device()
            self._step_ended = time.perf_counter()

    def report(self) -> None:
        """Say how long the steps took that were wanted, and how long what came after the last of them."""
        finish_on_device()
        now = time.perf_counter()
        self._pipe.send((now - self._began, now - self._step_ended))


class Paced:
    """`loop(pace, processes, *arguments, **options)` in a new process; it has come to its first step when this returns.

    The loop must be importable: defined at the top of a module.
    """

    def __init__(self, loop: Callable[..., None], *arguments: Any, **options: Any) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(theirs, loop, arguments, options), daemon=True)
        self._process.start()
        theirs.close()
        self.seconds_after_last = 0.0
        """What came after the last step that was timed and before the next one: a growth, or next to nothing."""
        self._answer()

    def steps(self, count: int) -> float:
        """Run so many steps, and to the next one's start or the loop's end; returns seconds."""
        self._pipe.send(count)
        return self._answer()

    def _answer(self) -> float:
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"a loop ended with exit code {self._process.exitcode}") from None
        if isinstance(answer, str):
            raise RuntimeError(answer)
        seconds, self.seconds_after_last = answer
        return float(seconds)

    def close(self) -> None:
        """End the process, with all the memory that it holds."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def join_alone() -> Processes:
    """The single rank of this process."""
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        os.environ.update(alone, MASTER_PORT=str(probe.getsockname()[1]))
    return Processes.join()


def _run(pipe: Connection, loop: Callable[..., None], arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  what a stock loop prints at its start
    try:
        pace = Pace(pipe)
        loop(pace, join_alone(), *arguments, **options)
        pace.report()
    except BaseException:
        pipe.send(traceback.format_exc())


def finish_on_device() -> None:
    """Wait until the GPU, if there is one, has done what it was told to."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
