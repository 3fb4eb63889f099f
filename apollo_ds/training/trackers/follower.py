"""Run a tracker on a thread of its own, so that it can neither end a run nor delay it."""

import logging
from collections.abc import Callable, Iterable

from apollo_ds.training.trackers.point import Point
from apollo_ds.training.trackers.tracker import TrackedRun, Tracker
from apollo_ds.training.writing_thread import WritingThread
from data_prep.errors import first_line

_MOST_WAITING = 20_000
"""A tracker that falls so many points behind is switched off. The number is large, since connecting to a server may
take a minute."""
_POINTS_AT_ONCE = 1000
_PATIENCE = 60.0
"""The seconds that a tracker has at the end of a run to send its remaining points."""
_WITHOUT_IT = "; the run goes on without it"

_log = logging.getLogger(__name__)


class Follower:
    """Passes a run's points to a tracker. If it fails or falls behind, it gets no more, and one line says so."""

    def __init__(self, name: str, tracker: Tracker, most_waiting: int = _MOST_WAITING) -> None:
        self.name = name
        self.is_off = False
        self._tracker = tracker
        self._most_waiting = most_waiting
        self._thread = WritingThread(name, most_waiting)

    def start(self, run: TrackedRun, earlier: Iterable[Point]) -> None:
        """Start the tracker, and pass it the points that earlier starts of the run have recorded."""
        self._give(lambda: self._start(run, earlier))

    def tell(self, point: Point) -> None:
        """Pass on one point."""
        self._give(lambda: self._tracker.record(point))

    def flush(self) -> None:
        """Ask the tracker to show its points soon, without waiting for it."""
        self._give(self._tracker.flush)

    def close(self, is_finished: bool, patience: float = _PATIENCE) -> None:
        """Let the tracker send its remaining points, for at most `patience` seconds."""
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
        except Exception as error:  # its library or its server may raise anything
            self._turn_off(f"failed: {type(error).__name__}: {first_line(error).rstrip('.')}{_WITHOUT_IT}")

    def _turn_off(self, reason: str) -> None:
        if not self.is_off:
            self.is_off = True
            _log.warning(f"{self.name} {reason}")
