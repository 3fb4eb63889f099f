"""What a run records: metrics.jsonl and TensorBoard's events, from the first rank."""

import errno
import json
import os
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

_STEP_SCALARS = {
    "loss": "loss/train",
    "lr": "optimizer/learning_rate",
    "grad_norm": "optimizer/grad_norm",
    "depth": "growth/depth",
    "unique_layers": "growth/unique_layers",
    "tokens_per_second": "speed/tokens_per_second",
    "flops": "speed/total_flops",
}


class Metrics:
    """One JSON object a line, and the same as TensorBoard scalars over steps.

    When a run goes on from a checkpoint, what was recorded after it is cut off, so that each step is there once.
    When the disk does not take any more, `failure` says so, and nothing else is written.
    """

    def __init__(self, folder: Path, keep_bytes: int, step: int) -> None:
        self.failure: str | None = None
        self.path = folder / "metrics.jsonl"
        self._file = self.path.open("a+b", buffering=0)
        self._file.seek(0)
        # After a crash of the machine the file may be shorter than the checkpoint knew it.
        self._file.truncate(self._file.read(keep_bytes).rfind(b"\n") + 1)
        self._file.seek(0, 2)
        self._tensorboard = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, event: str, **values: Any) -> None:
        """Append one event. Values are rounded to the digits that fp32 carries."""
        line = {"event": event, **{key: _rounded(value) for key, value in values.items()}}
        self._attempt(lambda: self._append((json.dumps(line) + "\n").encode()))
        self._attempt(lambda: self._scalars(event, values))

    def _append(self, line: bytes) -> None:
        if self._file.write(line) < len(line):  # the file is not buffered, and the disk took what it could
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _attempt(self, action: Callable[[], object]) -> None:
        if self.failure:
            return
        try:
            action()
        except OSError as error:
            self.failure = f"{self.path}: cannot be written: {error.strerror}; make room, then give the same command"

    def _scalars(self, event: str, values: dict[str, Any]) -> None:
        if event == "step":
            for key, tag in _STEP_SCALARS.items():
                if key in values:
                    self._tensorboard.add_scalar(tag, values[key], values["step"])
        elif event == "eval":
            self._tensorboard.add_scalar("loss/held_out", values["loss"], values["step"])
        elif event == "growth":
            text = f"{values['from']} -> {values['to']} layers, held-out loss {values['loss_before']:.4f} -> "
            self._tensorboard.add_text("growth", f"{text}{values['loss_after']:.4f}", values["step"])

    def flush(self) -> int:
        """Put everything on disk; returns the length of metrics.jsonl in bytes."""
        self._attempt(lambda: os.fsync(self._file.fileno()))
        self._attempt(self._tensorboard.flush)
        return self._file.tell()

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        self._file.close()
        self._attempt(self._tensorboard.close)


def _rounded(value: Any) -> Any:
    """The digits that fp32 carries; None for what is not finite, since JSON has no name for it."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.9g}") if isfinite(value) else None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All events of a run, in order; a last line that a crash cut short is left out."""
    lines = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1] if line]
