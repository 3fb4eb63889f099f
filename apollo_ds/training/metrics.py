"""Write a run's events to metrics.jsonl and to its trackers, on rank 0."""

import errno
import json
import os
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

import xxhash

from apollo_ds.errors import UserError
from apollo_ds.training.trackers.trackers import Trackers
from apollo_ds.training.writing_thread import WritingThread


class Metrics:
    """Writes one JSON object on each line. The run's trackers get the same events.

    When a run resumes from a checkpoint, later records are cut off, so that each step is there once. A thread writes.
    When the disk is full, `failure` says so, and nothing else is written.
    """

    def __init__(self, folder: Path, keep_bytes: int, trackers: Trackers) -> None:
        self.failure: str | None = None
        self.path = folder / "metrics.jsonl"
        self._file = self.path.open("a+b", buffering=0)
        self._file.seek(0)
        kept = self._file.read(keep_bytes)
        self._file.truncate(len(kept))
        self._file.seek(0, 2)
        self._digest = xxhash.xxh3_128(kept)
        self._bytes = len(kept)
        self._flushes = 0
        self._thread = WritingThread("metrics")
        self._trackers = trackers
        trackers.start(kept)

    def write(self, event: str, **values: Any) -> None:
        """Queue one event to be appended. Values are rounded to the digits that fp32 carries."""
        rounded = {"event": event, **{key: _rounded(value) for key, value in values.items()}}
        line = (json.dumps(rounded) + "\n").encode()  # at once, since the values may change later
        self._give(lambda: self._append(line, rounded))

    def _append(self, line: bytes, event: dict[str, Any]) -> None:
        if self._file.write(line) < len(line):  # the disk is full; the file is not buffered
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._bytes += len(line)
        self._digest.update(line)
        self._trackers.tell(event)  # last, so that they never have more than the file

    @property
    def bytes(self) -> int:
        """The length of metrics.jsonl with all events so far, without a line that could not be written in full."""
        self._thread.wait()
        return self._bytes

    @property
    def hash(self) -> str:
        """The 128-bit XXH3 hash of the first `bytes` bytes."""
        self._thread.wait()
        return self._digest.hexdigest()

    def secure(self) -> None:
        """Wait until all events are on disk, before a checkpoint refers to them.

        Raises:
            UserError: an event could not be written.
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

    def flush(self) -> None:
        """Start to flush everything to disk, without waiting for it."""
        self._flushes += 1
        number = self._flushes
        # One flush serves all waiting requests, so that a disk slower than the loop does not delay `secure`.
        self._give(lambda: self._put_on_disk() if number == self._flushes else None)

    def _put_on_disk(self) -> None:
        os.fsync(self._file.fileno())
        self._trackers.flush()

    def close(self) -> None:
        """Flush everything to disk, and close the file."""
        self.flush()
        self._thread.close()
        self._trackers.close()
        self._file.close()


def _rounded(value: Any) -> Any:
    """Round numbers to the digits that fp32 carries, and turn those that are not finite into None, as JSON needs."""
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if not isinstance(value, float):
        return value
    return float(f"{value:.9g}") if isfinite(value) else None


class NoMetrics:
    """Takes the place of `Metrics` on all ranks but the first, and records nothing."""

    failure: str | None = None
    bytes = 0
    hash = ""

    def write(self, event: str, **values: Any) -> None:
        """Write nothing."""

    def flush(self) -> None:
        """Do nothing."""

    def secure(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
