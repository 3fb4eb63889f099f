"""Write checkpoints in a thread, so that training continues meanwhile."""

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
        """Write to the folder of a run. `keep` and `stays` are those of `Pruner`."""
        self.folder = folder
        self.run = run
        self._pruner = Pruner(folder, run, keep, stays)
        self._channel = SideChannel(processes)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._in_flight: Future[None] | None = None

    def begin(self, state: ShardedState, progress: Progress) -> None:
        """Wait for the previous checkpoint, then start to write this state, which must not change any more.

        Raises:
            UserError: the previous checkpoint could not be written. Every rank raises it.
        """
        self.finish()
        self._in_flight = self._thread.submit(self._write, state, progress)

    def tidy(self, newest: Path) -> None:
        """Start to remove what a killed run left behind. The run resumes from the checkpoint `newest`."""
        self._in_flight = self._thread.submit(self._prune, newest)

    def finish(self) -> None:
        """Wait until the checkpoint in progress is complete on disk and old ones are removed.

        Raises:
            UserError: the checkpoint could not be written, or an old one not be removed. Every rank raises it.
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
        """Wait until the work in progress ends, even by an error, and free the thread. All ranks call it together."""
        self._thread.shutdown()
        self._channel.close()
