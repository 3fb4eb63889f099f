"""What a run records: metrics.jsonl and TensorBoard's events, from the first rank."""

import errno
import json
import os
import threading
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from apollo_ds.errors import UserError
from apollo_ds.schedule.totals import Totals
from apollo_ds.training.writing_thread import WritingThread

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_SCALARS = {
    "step": {
        "loss": "loss/train",
        "lr": "optimizer/learning_rate",
        "new_lr": "optimizer/new_learning_rate",
        "grad_norm": "optimizer/grad_norm",
        "update_to_weight": "optimizer/update_to_weight",
        "skipped_steps": "optimizer/skipped_steps",
        "depth": "growth/depth",
        "unique_layers": "growth/unique_layers",
        "stage": "growth/stage",
        "tokens_per_second": "speed/tokens_per_second",
    },
    "ranks": {
        "utilisation": "speed/model_flops_utilisation",
        "data_wait_seconds": "speed/data_wait_seconds",
        "slowdown": "speed/slowest_rank_over_median",
        "memory_bytes": "speed/memory_bytes",
    },
    "eval": {"loss": "loss/held_out", "bits_per_byte": "loss/held_out_bits_per_byte"},
}
_LOSSES = {"step": "train", "eval": "held_out"}
_AXES = {"tokens": 1.0, "flops": 1e9, "seconds": 1.0}
"""Beside steps, what losses are drawn over, in units of so much: TensorBoard's axes are whole numbers."""
_AXIS_NAMES = {"tokens": "tokens", "flops": "gflop", "seconds": "seconds"}


class Metrics:
    """One JSON object a line, and the same as TensorBoard scalars over steps; losses over tokens, cost and time too.

    When a run goes on from a checkpoint, what was recorded after it is cut off, so that each step is there once.
    A thread writes. When the disk does not take any more, `failure` says so, and nothing else is written.
    """

    def __init__(self, folder: Path, keep_bytes: int, totals: Totals) -> None:
        from torch.utils.tensorboard import SummaryWriter  # reading metrics needs no torch

        self.failure: str | None = None
        self.path = folder / "metrics.jsonl"
        self._file = self.path.open("a+b", buffering=0)
        self._file.seek(0)
        kept = self._file.read(keep_bytes)
        self._file.truncate(len(kept))
        self._file.seek(0, 2)
        self._digest = xxhash.xxh3_128(kept)
        self._bytes = len(kept)
        threading.excepthook = _tell_of_a_thread
        self._tensorboard = SummaryWriter(str(folder), purge_step=totals.step + 1)
        # Each axis in a folder of its own: what TensorBoard forgets when a run is resumed, it forgets by one axis.
        self._by_axis = {
            axis: SummaryWriter(
                str(folder / f"by_{_AXIS_NAMES[axis]}"), purge_step=int(getattr(totals, axis) / unit) + 1
            )
            for axis, unit in _AXES.items()
        }
        self._flushes = 0
        self._thread = WritingThread("metrics")

    def describe(self, recipe: dict[str, Any]) -> None:
        """The recipe as TensorBoard's hyper-parameters, to compare runs by their held-out loss."""
        from torch.utils.tensorboard.summary import hparams

        flat = {key: value if isinstance(value, int | float | str) else str(value) for key, value in recipe.items()}
        for summary in hparams(flat, {"loss/held_out": None}):
            self._tensorboard._get_file_writer().add_summary(summary)

    def write(self, event: str, **values: Any) -> None:
        """Have one event appended. Values are rounded to the digits that fp32 carries."""
        rounded = {"event": event, **{key: _rounded(value) for key, value in values.items()}}
        line = (json.dumps(rounded) + "\n").encode()  # now: what the values name may change
        self._give(lambda: self._append(line))
        self._give(lambda: self._scalars(event, values))

    def _append(self, line: bytes) -> None:
        if self._file.write(line) < len(line):  # the file is not buffered, and the disk took what it could
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._bytes += len(line)
        self._digest.update(line)

    @property
    def bytes(self) -> int:
        """Length of metrics.jsonl with all events so far, without a line that could not be written whole."""
        self._thread.wait()
        return self._bytes

    @property
    def hash(self) -> str:
        """The 128-bit XXH3 hash of so many bytes."""
        self._thread.wait()
        return self._digest.hexdigest()

    def secure(self) -> None:
        """Wait until everything is on disk, for a checkpoint to name.

        Raises:
            UserError: something that was recorded could not be written.
        """
        self.flush()
        self._thread.wait()
        if self.failure:
            raise UserError(self.failure)

    def _give(self, action: Callable[[], object]) -> None:
        self._thread.give(lambda: self._attempt(action))

    def _attempt(self, action: Callable[[], object]) -> None:
        if self.failure:
            return
        try:
            action()
        except OSError as error:
            self.failure = (
                f"{self.path}: cannot be written: {error.strerror}; free space, then run the same command to resume"
            )

    def _scalars(self, event: str, values: dict[str, Any]) -> None:
        for key, tag in _SCALARS.get(event, {}).items():
            if key in values:
                self._tensorboard.add_scalar(tag, values[key], values["step"])
        for axis, unit in _AXES.items():
            if event in _LOSSES and axis in values:
                tag = f"loss_by_{_AXIS_NAMES[axis]}/{_LOSSES[event]}"
                self._by_axis[axis].add_scalar(tag, values["loss"], int(values[axis] / unit))
        for key, tag in (("losses", "held_out"), ("bits_per_byte_of", "held_out_bits_per_byte")):
            for name, value in values.get(key, {}).items():
                self._tensorboard.add_scalar(f"{tag}/{name}", value, values["step"])
        if event == "growth":
            text = f"{values['from']} -> {values['to']} layers, held-out loss {values['loss_before']:.4f} -> "
            self._tensorboard.add_text("growth", f"{text}{values['loss_after']:.4f}", values["step"])
        for number, sample in enumerate(values.get("samples", ()), start=1):
            text = "\n\n".join((f"**{sample['prompt']}**", sample["text"]))
            self._tensorboard.add_text(f"samples/{number}", text, values["step"])

    def flush(self) -> None:
        """Have everything put on disk, without waiting for it."""
        self._flushes += 1
        number = self._flushes
        # A disk that is slower than the loop does one flush for all that it is behind, so that `secure` need not wait.
        self._give(lambda: self._put_on_disk() if number == self._flushes else None)

    def _put_on_disk(self) -> None:
        os.fsync(self._file.fileno())
        for writer in self._writers:
            writer.flush()

    def close(self) -> None:
        """Put everything on disk, and close."""
        self.flush()
        for writer in self._writers:
            self._give(writer.close)
        self._thread.close()
        self._file.close()

    @property
    def _writers(self) -> "list[SummaryWriter]":
        return [self._tensorboard, *self._by_axis.values()]


def _tell_of_a_thread(ended: threading.ExceptHookArgs) -> None:
    """Print why a thread ended, but not what TensorBoard's raises again where it is called: `Metrics` tells of that."""
    if not (isinstance(ended.exc_value, OSError) and type(ended.thread).__module__.startswith("tensorboard.")):
        threading.__excepthook__(ended)


def _rounded(value: Any) -> Any:
    """The digits that fp32 carries; None for what is not finite, since JSON has no name for it."""
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if not isinstance(value, float):
        return value
    return float(f"{value:.9g}") if isfinite(value) else None


class NoMetrics:
    """What the other ranks record: nothing."""

    failure: str | None = None
    bytes = 0
    hash = ""

    def write(self, event: str, **values: Any) -> None:
        """See `Metrics`."""

    def flush(self) -> None:
        """See `Metrics`."""

    def secure(self) -> None:
        """See `Metrics`."""

    def close(self) -> None:
        """See `Metrics`."""
