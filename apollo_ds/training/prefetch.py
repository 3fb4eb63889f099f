"""Read the batches of a step while the step before it computes."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from apollo_ds.models.pretraining import Batch
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.training.faults.loss_spikes import Diverged

Reader = Callable[[Schedule, int], list[Batch]]
"""A function of a schedule and a step that returns this rank's micro-batches on its device."""


class Prefetcher:
    """Reads a step's batches and, in a thread, those of the step after it. Use it in a `with` statement."""

    def __init__(self, read: Reader, select_device: Callable[[], None]) -> None:
        """`select_device` makes the rank's GPU the current one of the reading thread."""
        self._read = read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch", initializer=select_device)
        self._next: tuple[Schedule, int, Future[list[Batch]]] | None = None

    def batches(self, schedule: Schedule, step: int) -> list[Batch]:
        """The micro-batches of a step. Batches that were read ahead for an older schedule are not used."""
        ahead, self._next = self._next, None
        known = ahead is not None and ahead[0] is schedule and ahead[1] == step
        current = ahead[2] if ahead is not None and known else self._thread.submit(self._read, schedule, step)
        if step + 1 < schedule.total_steps:
            self._next = (schedule, step + 1, self._thread.submit(self._read, schedule, step + 1))
        return current.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After an error, do not wait for the reader: if it hangs, it would delay the message. After a divergence,
        # training continues.
        goes_on = kind is None or issubclass(kind, Diverged)
        self._thread.shutdown(wait=goes_on, cancel_futures=True)
