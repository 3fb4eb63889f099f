"""The interface of trackers, and the description of a run that they get."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from apollo_ds.training.trackers.point import Point


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker shows it."""

    name: str
    """The name of its folder."""
    folder: Path
    id: str
    """The id of the run. It stays the same when the run resumes, and changes when it starts over. Empty if no tracker
    needs it."""
    recipe: Mapping[str, Any]
    """The recipe's numbers and texts. Keys have dots, such as `model.num_layers`."""


class Tracker(Protocol):
    """Shows one run. It runs on a thread of its own. If it raises an error, it is switched off, and the run continues.

    Each start of the run passes it all points from the first step on. It must leave out those that it has already.
    """

    needs_id: ClassVar[bool]
    """Whether it keeps many runs, and needs an id to find this one again."""

    def start(self, run: TrackedRun) -> str:
        """Begin to show a run, or continue it. Returns where it can be seen; empty if that need not be printed."""

    def record(self, point: Point) -> None:
        """Record one point of the run."""

    def flush(self) -> None:
        """Make the recorded points visible soon."""

    def close(self, is_finished: bool) -> None:
        """Send the remaining points. Unless `is_finished`, the run may be resumed later."""
