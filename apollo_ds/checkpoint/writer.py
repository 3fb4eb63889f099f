"""Checkpoints written by a thread, so that training goes on meanwhile."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from apollo_ds.checkpoint.progress import Progress
from apollo_ds.checkpoint.prune import Pruner
from apollo_ds.checkpoint.save import on_all_ranks, save_checkpoint
from apollo_ds.engine.processes import Processes
from apollo_ds.engine.side_channel import SideChannel
from apollo_ds.growth.state import ShardedState


class CheckpointWriter:
    """Writes one checkpoint at a time, all ranks together, then removes those that need not be kept."""

    def __init__(self, folder: Path, run: str, processes: Processes, keep: int, stays: Callable[[int], bool]) -> None:
        """Write to a folder for a run; `Pruner` explains `keep` and `stays`."""
        self.folder = folder
        self.run = run
        self._pruner = Pruner(folder, run, keep, stays)
        self._channel = SideChannel(processes)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._in_flight: Future[None] | None = None

    def begin(self, state: ShardedState, progress: Progress) -> None:
        """Start to write a state, which must not change any more; first waits for the checkpoint before it.

        Raises:
            UserError: the one before could not be written; on every rank.
        """
        self.finish()
        self._in_flight = self._thread.submit(self._write, state, progress)

    def tidy(self, newest: Path) -> None:
        """Start to remove what a run that was killed had still to remove; `newest` is what it goes on from."""
        self._in_flight = self._thread.submit(self._prune, newest)

    def finish(self) -> None:
        """Wait until what has begun is complete on disk.

        Raises:
            UserError: it could not be written, or what is to go could not be removed; on every rank.
        """
        if self._in_flight is not None:
            in_flight, self._in_flight = self._in_flight, None
            in_flight.result()

    @property
    def failure(self) -> str | None:
        """Why the last checkpoint failed; None if it did not, or not yet. Ranks may learn it at different times."""
        if self._in_flight is None or not self._in_flight.done():
            return None
        error = self._in_flight.exception()
        return str(error) if error else None

    def _write(self, state: ShardedState, progress: Progress) -> None:
        self._prune(save_checkpoint(self.folder, state, progress, self.run, self._channel))

    def _prune(self, newest: Path) -> None:
        is_first = self._channel.processes.is_first
        on_all_ranks(self._channel, self.folder, lambda: self._pruner.prune(newest) if is_first else None)

    def close(self) -> None:
        """Let what has begun come to its end, well or not, and free the thread. All ranks together."""
        self._thread.shutdown()
        self._channel.close()
