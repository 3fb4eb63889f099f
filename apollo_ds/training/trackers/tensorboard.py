"""Track a run with TensorBoard, by one event file in the run's folder. So it shows one run, with the folder's name."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from apollo_ds.training.trackers.point import Point
from apollo_ds.training.trackers.tracker import TrackedRun

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

_FILE = "events.out.tfevents.*"
_AXES = {"tokens": ("loss_by_tokens", 1.0), "flops": ("loss_by_gflop", 1e9)}
"""The axes of losses besides steps, and their units. TensorBoard's axes are whole numbers below 2**63."""
_OLD_AXES = ("by_tokens", "by_gflop", "by_seconds")
"""Folders in which version 0.1.0 kept the losses over other axes. TensorBoard showed them as runs."""


class TensorBoard:
    """Writes an event file. Each start writes a new file of the whole run, and removes the files of earlier starts.

    So no step appears twice, on any axis. (TensorBoard itself can drop the points after a checkpoint on one axis only.)
    Its axis `Relative` is the time for which the run has trained.
    """

    needs_id: ClassVar[bool] = False

    def start(self, run: TrackedRun) -> str:
        """Write a new file with all points that the run has recorded. Returns an empty address."""
        from tensorboard.compat.proto.event_pb2 import Event
        from torch.utils.tensorboard import RecordWriter
        from torch.utils.tensorboard.summary import hparams

        old = [*run.folder.glob(_FILE), *(file for axis in _OLD_AXES for file in (run.folder / axis).glob(_FILE))]
        path = run.folder / _FILE.replace("*", str(time.time_ns()))
        self._records = RecordWriter(path.open("wb"))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        for summary in hparams(dict(run.recipe), {"loss/held_out": None}):
            self._write(Event(wall_time=time.time(), summary=summary))
        self.flush()
        _remove(old)
        return ""

    def record(self, point: Point) -> None:
        """Write a point's values and texts."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from torch.utils.tensorboard.summary import text

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in point.scalars.items()]
        values += [value for tag, content in point.texts.items() for value in text(tag, content).value]
        self._write(Event(wall_time=point.time, step=point.step, summary=Summary(value=values)))
        losses = {tag.removeprefix("loss/"): value for tag, value in point.scalars.items() if tag.startswith("loss/")}
        for key, (group, unit) in _AXES.items():
            if losses and key in point.progress:
                values = [Summary.Value(tag=f"{group}/{name}", simple_value=value) for name, value in losses.items()]
                step = int(point.progress[key] / unit)
                self._write(Event(wall_time=point.time, step=step, summary=Summary(value=values)))

    def flush(self) -> None:
        """Write the buffered points."""
        self._records.flush()

    def close(self, is_finished: bool) -> None:
        """Close the file."""
        self._records.close()

    def _write(self, event: "Event") -> None:
        self._records.write(event.SerializeToString())


def _remove(files: list[Path]) -> None:
    for file in files:
        file.unlink()
        if file.parent.name in _OLD_AXES and not any(file.parent.iterdir()):
            file.parent.rmdir()
