"""Encode the parts on several processes."""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from rich.console import Console

from data_prep import progress
from data_prep.counted import counted
from data_prep.errors import DataError
from data_prep.parts import Job, encode_part, is_done
from data_prep.sources import Part


def check_workers(workers: int) -> None:
    """Check the number of processes.

    Raises:
        DataError: the number is below one.
    """
    if workers < 1:
        raise DataError(f"--workers {workers}: must be at least 1")


def encode_all(job: Job, plan: list[Part], workers: int, console: Console) -> None:
    """Encode the parts that are not done, on this many processes.

    Raises:
        DataError: a document cannot be read, or a process was killed.
    """
    todo = [part for part in plan if not is_done(job, part)]
    if len(todo) < len(plan):
        console.print(f"continuing: {len(plan) - len(todo):,} of {counted(len(plan), 'part')} done", highlight=False)
    total = sum(part.size for part in plan)
    with progress.shown("encode", total, console, done=total - sum(part.size for part in todo)) as add:
        for part in _encoded(job, todo, min(workers, len(todo))):
            add(part.size)


def _encoded(job: Job, todo: list[Part], workers: int) -> Iterator[Part]:
    """Encode parts, and yield each when it is done. With one worker this process itself does it."""
    if workers <= 1:
        for part in todo:
            encode_part(job, part)
            yield part
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=_end_with_parent) as pool:
        running = {pool.submit(encode_part, job, part): part for part in todo}
        try:
            for future in as_completed(running):
                future.result()
                yield running[future]
        except BrokenProcessPool as error:
            raise DataError(
                "a worker process was killed, probably because the memory was used up: run the same command again with "
                "fewer --workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Make a worker end as soon as the process that started it has ended, for whatever reason."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
