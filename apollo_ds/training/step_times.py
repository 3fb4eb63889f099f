"""Measure each rank's own time in a step, and find the rank that the others wait for."""

from statistics import median
from typing import Any

import torch

from apollo_ds.engine.clock import seconds_between
from apollo_ds.engine.engine import StepResult
from apollo_ds.engine.hardware import peak_memory_bytes
from apollo_ds.engine.processes import Processes


class StepTimes:
    """Sums up each rank's own time: the wait for its batches and the first forward pass of each step.

    After these, the ranks wait for each other.
    """

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self._waits: list[float] = []
        self._results: list[StepResult] = []

    def add(self, waited: float, result: StepResult) -> None:
        """Note a step, and the seconds for which it waited for its batches."""
        self._waits.append(waited)
        self._results.append(result)

    def compare(self) -> dict[str, Any]:
        """Compare the ranks by their means over the steps since the last call.

        All ranks call it together, once the device has done the steps. `data_wait_seconds` and `memory_bytes` (the peak
        since the last growth) are the greatest of all ranks. `own_seconds` lists each rank's own time a step.
        `slowdown` is the own time of the `slowest_rank` divided by the median.
        """
        steps = max(1, len(self._waits))
        wait = sum(self._waits) / steps
        forward = sum(seconds_between(result.began, result.ran_forward) for result in self._results) / steps
        self._waits.clear()
        self._results.clear()
        table = torch.zeros(self.processes.world_size, 3, dtype=torch.float64)
        table[self.processes.rank] = torch.tensor([wait, wait + forward, peak_memory_bytes(self.processes.device)])
        waits, own, memory = self.processes.sum(table.to(self.processes.device)).cpu().unbind(1)
        slowest = int(own.argmax())
        return {
            "data_wait_seconds": float(waits.max()),
            "own_seconds": own.tolist(),
            "slowest_rank": slowest,
            "slowdown": float(own[slowest]) / max(median(own.tolist()), 1e-9),
            "memory_bytes": int(memory.max()),
        }
