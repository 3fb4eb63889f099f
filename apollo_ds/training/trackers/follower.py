"""A tracker on a thread of its own, which can neither end a run nor hold it up."""

from collections.abc import Callable, Iterable

from rich.markup import escape

from apollo_ds.training.trackers.identity import Told
from apollo_ds.training.trackers.point import Point
from apollo_ds.training.trackers.tracker import TrackedRun, Tracker
from apollo_ds.training.writing_thread import WritingThread

_MOST_WAITING = 20_000
"""A tracker that is so many points behind is switched off. Connecting to a server may take a minute."""
_PATIENCE = 60.0
"""Seconds in which a tracker may send what is left when a run ends."""


class Follower:
    """Tells a tracker of a run. Where that fails or cannot keep up, one line says so, and it is told no more."""

    def __init__(
        self, name: str, tracker: Tracker, say: Callable[[str], None], most_waiting: int = _MOST_WAITING
    ) -> None:
        self.name = name
        self.is_off = False
        self._tracker = tracker
        self._say = say
        self._most_waiting = most_waiting
        self._told = Told()
        self._thread = WritingThread(name, most_waiting)

    def start(self, run: TrackedRun, told: Told, earlier: Iterable[Point]) -> None:
        """Have the tracker begin, and tell it what the run has recorded earlier, but for what it has been told."""
        self._told = told
        self._give(lambda: self._start(run, earlier))

    def tell(self, point: Point) -> None:
        """Have one point recorded."""
        self._give(lambda: self._record(point))

    def flush(self) -> None:
        """Have what was recorded shown soon, without waiting for it."""
        self._give(self._tracker.flush)

    def close(self, is_finished: bool, patience: float = _PATIENCE) -> None:
        """Let the tracker send what is left, for at most `patience` seconds."""
        self._give(lambda: self._tracker.close(is_finished))
        if not self._thread.close(patience) and not self.is_off:
            self._turn_off(f"is still busy after {patience:g} s; what it has not sent is in metrics.jsonl")

    def _start(self, run: TrackedRun, earlier: Iterable[Point]) -> None:
        where = self._tracker.start(run)
        if where:
            self._say(f"{self.name}: {escape(where)}")
        for point in earlier:
            self._record(point)

    def _record(self, point: Point) -> None:
        if not self._told.includes(point.step, point.event):
            self._tracker.record(point)

    def _give(self, action: Callable[[], object]) -> None:
        if not self.is_off and not self._thread.offer(lambda: self._attempt(action)):
            self._turn_off(f"is {self._most_waiting:,} records behind")

    def _attempt(self, action: Callable[[], object]) -> None:
        if self.is_off:
            return
        try:
            action()
        except Exception as error:  # whatever its library or its server raises
            first, *_ = str(error).splitlines() or [""]
            self._turn_off(f"failed: {type(error).__name__}: {first}")

    def _turn_off(self, reason: str) -> None:
        self.is_off = True
        self._say(f"[yellow]{self.name} {escape(reason)}; the run goes on without it[/]")
