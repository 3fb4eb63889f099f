"""All trackers of a run together."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from apollo_ds.training.trackers.follower import Follower
from apollo_ds.training.trackers.identity import Identity, Told, identify
from apollo_ds.training.trackers.mlflow import MLflow
from apollo_ds.training.trackers.point import PROGRESS, Point, Points, events
from apollo_ds.training.trackers.tensorboard import TensorBoard
from apollo_ds.training.trackers.tracker import TrackedRun, Tracker
from apollo_ds.training.trackers.wandb import WeightsAndBiases

_TRACKERS: dict[str, Callable[[], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}
_MOST_EARLIER_STEPS = 10_000
"""Of more steps than so many, a start tells only every second, third, ...: TensorBoard draws a thousand points."""
_MOST_EVENTS_OF_A_STEP = 20


class Trackers:
    """The trackers of one start of a run. None of them can end it or hold it up."""

    def __init__(
        self, folder: Path, recipe: Mapping[str, Any], names: Sequence[str], say: Callable[[str], None] = print
    ) -> None:
        """`say` prints a line: where a tracker records, or that it failed."""
        self._folder = folder
        self._recipe = flat(recipe)
        self._trackers = {name: _TRACKERS[name]() for name in names}
        self._followers: list[Follower] = []
        self._say = say
        self._points = Points(time.time())
        self._is_finished = False

    def start(self, kept: bytes, cut_off: bytes) -> None:
        """Begin, or go on behind what metrics.jsonl still holds (`kept`) of an earlier start's lines.

        `cut_off` are lines behind the checkpoint, of steps that are taken again.
        """
        begun = time.time() - _seconds(kept)
        self._points = Points(begun)
        go_on = [name for name, tracker in self._trackers.items() if not tracker.begins_anew]
        identities = identify(self._folder, go_on, bool(kept), _recorded(kept, cut_off))
        for name, tracker in self._trackers.items():
            identity = identities.get(name, Identity(id=""))
            run = TrackedRun(self._folder.absolute().name, self._folder, identity.id, self._recipe)
            follower = Follower(name, tracker, self._say)
            follower.start(run, identity.told, _earlier(kept, begun))
            self._followers.append(follower)

    def tell(self, event: Mapping[str, Any]) -> None:
        """Have an event of metrics.jsonl shown."""
        self._is_finished = event["event"] == "end"
        for point in self._points.of(event):
            for follower in self._followers:
                follower.tell(point)

    def flush(self) -> None:
        """Have what was told seen soon."""
        for follower in self._followers:
            follower.flush()

    def close(self) -> None:
        """Let each send what is left, for a bounded time."""
        for follower in self._followers:
            follower.close(self._is_finished)


def flat(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, int | float | str]:
    """A recipe's values by keys with dots: `model.num_layers`. What is neither a number nor a text becomes a text."""
    values: dict[str, int | float | str] = {}
    for key, value in recipe.items():
        if isinstance(value, Mapping) and all(name.isidentifier() for name in value):
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value if isinstance(value, int | float | str) else json.dumps(value)
    return values


def _earlier(kept: bytes, begun: float) -> Iterator[Point]:
    points, every = Points(begun), 1 + kept.count(b'{"event": "step"') // _MOST_EARLIER_STEPS
    for event in events(kept.splitlines()):
        if event["event"] != "step" or event["step"] % every == 0:
            yield from points.of(event)


def _recorded(kept: bytes, cut_off: bytes) -> Told:
    """Up to where an earlier start recorded."""
    last = [*events(kept.splitlines()[-_MOST_EVENTS_OF_A_STEP:]), *events(cut_off.splitlines())]
    step = max((event["step"] for event in last), default=-1)
    return Told(step=step, events={event["event"] for event in last if event["step"] == step})


def _seconds(kept: bytes) -> float:
    """How long the run had trained by its last line that tells so."""
    for event in events(reversed(kept.splitlines())):
        if event.keys() >= set(PROGRESS):
            return float(event["seconds"])
    return 0.0
