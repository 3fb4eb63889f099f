"""Several training loops side by side in one process: each runs as many steps as it is told to, then waits."""

import threading
import time
from collections.abc import Callable
from threading import Semaphore, Thread

import torch


class Paced:
    """A training loop in a thread of its own, which calls `gate` at the start of each of its steps.

    It has come to its first step when this returns.
    """

    def __init__(self, loop: Callable[["Paced"], None]) -> None:
        self._steps_left = 0
        self._go, self._waits = Semaphore(0), Semaphore(0)
        self._failure: BaseException | None = None
        self._step_ended = 0.0
        self.seconds_after_last = 0.0
        """What came after the last step that was timed and before the next one: a growth, or next to nothing."""
        Thread(target=self._run, args=(loop,), daemon=True).start()
        self._wait()

    def _run(self, loop: Callable[["Paced"], None]) -> None:
        local.pace = self
        try:
            loop(self)
        except BaseException as failure:
            self._failure = failure
        self._waits.release()

    def gate(self) -> None:
        """Wait here until another step is wanted."""
        if self._steps_left == 0:
            _finish_on_device()
            self._waits.release()
            self._go.acquire()
        self._steps_left -= 1

    def step_ended(self) -> None:
        """Note when the last step that was wanted has been done; only for loops that do more than steps."""
        if self._steps_left == 0:
            _finish_on_device()
            self._step_ended = time.perf_counter()

    def _wait(self) -> None:
        self._waits.acquire()
        if self._failure:
            raise self._failure

    def steps(self, count: int) -> float:
        """Run so many steps, and to the next one's start or the loop's end; returns seconds."""
        self._steps_left = count
        began = time.perf_counter()
        self._go.release()
        self._wait()
        ended = time.perf_counter()
        self.seconds_after_last = ended - self._step_ended
        return ended - began


local = threading.local()
"""`pace`: the loop that runs in this thread."""


def _finish_on_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
