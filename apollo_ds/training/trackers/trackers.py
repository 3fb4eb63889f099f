"""All trackers of a run together."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from apollo_ds.training.trackers.follower import Follower
from apollo_ds.training.trackers.mlflow import MLflow
from apollo_ds.training.trackers.point import PROGRESS, Point, Points, events
from apollo_ds.training.trackers.run_id import run_id
from apollo_ds.training.trackers.tensorboard import TensorBoard
from apollo_ds.training.trackers.tracker import TrackedRun, Tracker
from apollo_ds.training.trackers.wandb import WeightsAndBiases

_TRACKERS: dict[str, Callable[[], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


class Trackers:
    """The trackers of one start of a run. None of them can end it or hold it up."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any], names: Sequence[str]) -> None:
        self._folder = folder
        self._recipe = flat(recipe)
        self._trackers = {name: _TRACKERS[name]() for name in names}
        self._followers: list[Follower] = []
        self._points = Points(time.time())
        self._is_finished = False

    def start(self, kept: bytes) -> None:
        """Start all trackers. `kept` is the content of metrics.jsonl from earlier starts; empty for a new run."""
        begun = time.time() - _seconds(kept)
        self._points = Points(begun)
        known_as = run_id(self._folder, goes_on=bool(kept)) if any(t.needs_id for t in self._trackers.values()) else ""
        run = TrackedRun(self._folder.absolute().name, self._folder, known_as, self._recipe)
        for name, tracker in self._trackers.items():
            follower = Follower(name, tracker)
            follower.start(run, _earlier(kept, begun))
            self._followers.append(follower)

    def tell(self, event: Mapping[str, Any]) -> None:
        """Pass an event of metrics.jsonl to all trackers."""
        self._is_finished = event["event"] == "end"
        for point in self._points.of(event):
            for follower in self._followers:
                follower.tell(point)

    def flush(self) -> None:
        """Ask all trackers to show their points soon."""
        for follower in self._followers:
            follower.flush()

    def close(self) -> None:
        """Let each tracker send its remaining points, for a limited time."""
        for follower in self._followers:
            follower.close(self._is_finished)


def flat(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, int | float | str]:
    """A recipe's values by keys with dots, such as `model.num_layers`. All but numbers are converted to texts."""
    values: dict[str, int | float | str] = {}
    for key, value in recipe.items():
        if isinstance(value, Mapping) and all(name.isidentifier() for name in value):
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value if isinstance(value, int | float | str) else _as_text(value)
    return values


def _as_text(value: Any) -> str:
    return "none" if value is None else json.dumps(value)


def _earlier(kept: bytes, begun: float) -> Iterator[Point]:
    points = Points(begun)
    for event in events(kept.splitlines()):
        yield from points.of(event)


def _seconds(kept: bytes) -> float:
    """The seconds for which the run had trained, from the last line that has them."""
    for event in events(reversed(kept.splitlines())):
        if event.keys() >= set(PROGRESS):
            return float(event["seconds"])
    return 0.0
