"""What a tracker is told of a run, and what it must be able to do."""

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
    """The same whenever the run goes on, and another one where it begins anew. Empty if no tracker needs it."""
    recipe: Mapping[str, Any]
    """Numbers and texts by keys with dots, such as `model.num_layers`."""


class Tracker(Protocol):
    """Shows one run. A thread of its own calls it; what it raises switches it off, and the run goes on.

    Each start of the run tells it the whole run from the first step. What it has already, it leaves out.
    """

    needs_id: ClassVar[bool]
    """Whether it keeps many runs, and has to find this one again."""

    def start(self, run: TrackedRun) -> str:
        """Begin to show a run, or go on with it. Returns where it can be seen; empty if that need not be said."""

    def record(self, point: Point) -> None:
        """Take one event of the run."""

    def flush(self) -> None:
        """Let what was recorded be seen soon."""

    def close(self, is_finished: bool) -> None:
        """Send what is left. The run may go on later unless it is finished."""
