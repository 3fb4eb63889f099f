"""TensorBoard: one file of events in the run's folder, so that the run is one run there and has the folder's name."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from apollo_ds.training.trackers.point import Point
from apollo_ds.training.trackers.tracker import TrackedRun

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

_FILE = "events.out.tfevents.*"
_AXES = {"tokens": ("loss_by_tokens", 1.0), "flops": ("loss_by_gflop", 1e9)}
"""What losses are drawn over beside steps, and in which unit: TensorBoard's axes are whole numbers below 2**63."""
_OLD_AXES = ("by_tokens", "by_gflop", "by_seconds")
"""Folders in which version 0.1.0 had the losses over other axes, and which TensorBoard took for runs."""


class TensorBoard:
    """Writes a file of events. Each start writes a new one of the whole run, and removes what earlier starts left.

    So no step is there twice, over whichever axis: TensorBoard itself could forget what lies behind a checkpoint by one
    axis only. Its axis `Relative` is the time that the run has trained.
    """

    needs_id: ClassVar[bool] = False

    def start(self, run: TrackedRun) -> str:
        """Write the run's file anew from its recorded points. Return no address."""
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
        """Write what is buffered."""
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
