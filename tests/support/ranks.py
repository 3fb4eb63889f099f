"""Live groups of CPU ranks that run test functions, so that the seconds of importing DeepSpeed are paid once.

`pool(2).run(function, *arguments)` calls `function(processes, *arguments)` on both ranks and returns both results.
The function must be importable (defined at the top of a module).
"""

import atexit
import gc
import os
import socket
import sys
import traceback
from collections.abc import Callable
from functools import cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from apollo_ds.engine.processes import Processes

TIMEOUT_SECONDS = 300


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _serve(rank: int, world_size: int, port: int, pipe: Connection) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world_size),
        LOCAL_WORLD_SIZE=str(world_size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    import torch

    torch.set_num_threads(1)
    processes = Processes.join()
    known = 0
    while True:
        try:
            call = pipe.recv()  # imports the test's module
            if call is None:
                break
            if len(sys.modules) != known:  # what is imported stays: no engine's garbage collection has to look at it
                known = len(sys.modules)
                gc.collect()
                gc.freeze()
            function, arguments = call
            pipe.send((True, function(processes, *arguments)))
        except EOFError:  # the tests are gone
            break
        except BaseException:
            pipe.send((False, traceback.format_exc()))
    processes.leave()


class RankPool:
    """So many ranks, in processes of their own."""

    def __init__(self, world_size: int) -> None:
        context = get_context("spawn")
        port = _free_port()
        self.pipes, self.workers = [], []
        for rank in range(world_size):
            ours, theirs = context.Pipe()
            worker = context.Process(target=_serve, args=(rank, world_size, port, theirs), daemon=True)
            worker.start()
            self.pipes.append(ours)
            self.workers.append(worker)
        atexit.register(self.stop)

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """The function's result on each rank; if it raises on any, the test fails with that rank's traceback."""
        for pipe in self.pipes:
            pipe.send((function, arguments))
        results = []
        for rank, pipe in enumerate(self.pipes):
            if not pipe.poll(TIMEOUT_SECONDS):
                raise TimeoutError(f"rank {rank} did not answer")
            succeeded, value = pipe.recv()
            if not succeeded:
                raise RuntimeError(f"on rank {rank}:\n{value}")
            results.append(value)
        return results

    def stop(self) -> None:
        """Let the ranks finish."""
        for pipe, worker in zip(self.pipes, self.workers, strict=True):
            if worker.is_alive():
                pipe.send(None)
        for worker in self.workers:
            worker.join(10)


@cache
def pool(world_size: int) -> RankPool:
    """The group of so many ranks, started at its first use."""
    return RankPool(world_size)
