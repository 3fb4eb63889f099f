"""A thread that writes to disk, so that the training loop does not wait."""

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Full, Queue

_MOST_WAITING = 1000
"""The most waiting actions: the records of some hundred steps. If the disk falls further behind, the loop waits for
it."""


class WritingThread:
    """Runs actions one by one in the order in which they were given. The process can end while it runs."""

    def __init__(self, name: str, most_waiting: int = _MOST_WAITING) -> None:
        self._waiting: Queue[Callable[[], object] | None] = Queue(most_waiting)
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def give(self, action: Callable[[], object]) -> None:
        """Queue an action.

        Raises:
            Exception: the error of an earlier action. No later action has run.
        """
        if self._fault:
            raise self._fault
        self._waiting.put(action)

    def offer(self, action: Callable[[], object]) -> bool:
        """Queue an action if there is room, without waiting. Returns whether there was room."""
        try:
            self._waiting.put_nowait(action)
        except Full:
            return False
        return True

    def wait(self) -> None:
        """Wait until all queued actions have run.

        Raises:
            Exception: the error of an action. No later action has run.
        """
        self._waiting.join()
        if self._fault:
            raise self._fault

    def close(self, patience: float | None = None) -> bool:
        """Run all queued actions and end the thread.

        Returns whether it ended within `patience` seconds. None means no limit.
        """
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
            except Exception as error:  # raised at the loop's next call
                self._fault = error
            finally:
                self._waiting.task_done()
        self._waiting.task_done()
