"""Messages between the ranks' CPUs, over a connection of their own that training does not use."""

from typing import Any

import torch
import torch.distributed as dist

from apollo_ds.engine.processes import Processes


class SideChannel:
    """A Gloo process group for one thread of each rank. All ranks make it together."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self._group = dist.new_group(backend="gloo") if processes.world_size > 1 else None

    def exchange(self, value: Any) -> list[Any]:
        """Wait for all ranks, and return their values by rank. The values must be picklable."""
        if self._group is None:
            return [value]
        values: list[Any] = [None] * self.processes.world_size
        dist.all_gather_object(values, value, group=self._group)
        return values

    def start_maximum(self, value: int) -> "PendingMaximum":
        """Start to find the greatest value of all ranks, and return without waiting for it."""
        result = torch.tensor([value], dtype=torch.int32)
        if self._group is None:
            return PendingMaximum(result, None)
        return PendingMaximum(result, dist.all_reduce(result, dist.ReduceOp.MAX, group=self._group, async_op=True))

    def close(self) -> None:
        """Free the group; all ranks together."""
        if self._group is not None:
            dist.destroy_process_group(self._group)
            self._group = None


class PendingMaximum:
    """A maximum that is being computed."""

    def __init__(self, result: torch.Tensor, work: Any) -> None:
        self._result = result
        self._work = work

    def wait(self) -> int:
        """Wait for the maximum over all ranks, and return it."""
        if self._work is not None:
            self._work.wait()
        return int(self._result)
