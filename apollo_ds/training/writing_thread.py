"""A thread that writes, so that the training loop does not wait for a disk."""

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Full, Queue

_MOST_WAITING = 1000
"""So many actions may wait, the records of some hundred steps; the loop waits for a disk that falls further behind."""


class WritingThread:
    """Runs actions one by one, in the order in which they were given. It does not keep a process from ending."""

    def __init__(self, name: str, most_waiting: int = _MOST_WAITING) -> None:
        self._waiting: Queue[Callable[[], object] | None] = Queue(most_waiting)
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def give(self, action: Callable[[], object]) -> None:
        """Have an action run after those before it.

        Raises:
            Exception: that of an earlier action, after which no other has run.
        """
        if self._fault:
            raise self._fault
        self._waiting.put(action)

    def offer(self, action: Callable[[], object]) -> bool:
        """The same, unless as many wait as may: returns whether there was room. It waits for nothing."""
        try:
            self._waiting.put_nowait(action)
        except Full:
            return False
        return True

    def wait(self) -> None:
        """Wait until all that was given has run.

        Raises:
            Exception: that of an action, after which no other has run.
        """
        self._waiting.join()
        if self._fault:
            raise self._fault

    def close(self, patience: float | None = None) -> bool:
        """Let all that was given run, and end the thread; whether it ended within `patience` seconds, if given."""
        if self._thread.is_alive():
            with suppress(Full):
                self._waiting.put(None, timeout=patience)
            self._thread.join(patience)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while action := self._waiting.get():
            try:
                if not self._fault:
                    action()
            except Exception as error:  # raised where the loop next looks
                self._fault = error
            finally:
                self._waiting.task_done()
        self._waiting.task_done()
