"""A tracker on a thread of its own, which can neither end a run nor hold it up."""

import logging
from collections.abc import Callable, Iterable

from apollo_ds.training.trackers.point import Point
from apollo_ds.training.trackers.tracker import TrackedRun, Tracker
from apollo_ds.training.writing_thread import WritingThread
from data_prep.errors import first_line

_MOST_WAITING = 20_000
"""A tracker that is so many points behind is switched off. Connecting to a server may take a minute."""
_POINTS_AT_ONCE = 1000
_PATIENCE = 60.0
"""Seconds in which a tracker may send what is left when a run ends."""
_WITHOUT_IT = "; the run goes on without it"

_log = logging.getLogger(__name__)


class Follower:
    """Tells a tracker of a run. Where that fails or cannot keep up, one line says so, and it is told no more."""

    def __init__(self, name: str, tracker: Tracker, most_waiting: int = _MOST_WAITING) -> None:
        self.name = name
        self.is_off = False
        self._tracker = tracker
        self._most_waiting = most_waiting
        self._thread = WritingThread(name, most_waiting)

    def start(self, run: TrackedRun, earlier: Iterable[Point]) -> None:
        """Have the tracker begin, and tell it what the run has recorded in earlier starts."""
        self._give(lambda: self._start(run, earlier))

    def tell(self, point: Point) -> None:
        """Have one point recorded."""
        self._give(lambda: self._tracker.record(point))

    def flush(self) -> None:
        """Have what was recorded shown soon, without waiting for it."""
        self._give(self._tracker.flush)

    def close(self, is_finished: bool, patience: float = _PATIENCE) -> None:
        """Let the tracker send what is left, for at most `patience` seconds."""
        self._give(lambda: self._tracker.close(is_finished))
        if not self._thread.close(patience):
            self._turn_off(f"is still busy after {patience:g} s; what it has not sent is in metrics.jsonl")

    def _start(self, run: TrackedRun, earlier: Iterable[Point]) -> None:
        where = self._tracker.start(run)
        if where:
            _log.info(f"{self.name}: {where}")
        for number, point in enumerate(earlier, 1):
            self._tracker.record(point)
            if number % _POINTS_AT_ONCE == 0:
                self._tracker.flush()

    def _give(self, action: Callable[[], object]) -> None:
        if not self.is_off and not self._thread.offer(lambda: self._attempt(action)):
            self._turn_off(f"is {self._most_waiting:,} records behind{_WITHOUT_IT}")

    def _attempt(self, action: Callable[[], object]) -> None:
        if self.is_off:
            return
        try:
            action()
        except Exception as error:  # whatever its library or its server raises
            self._turn_off(f"failed: {type(error).__name__}: {first_line(error).rstrip('.')}{_WITHOUT_IT}")

    def _turn_off(self, reason: str) -> None:
        if not self.is_off:
            self.is_off = True
            _log.warning(f"{self.name} {reason}")
