"""What a rank's hardware can do, and how much of its memory the rank has used."""

import resource
import time
from dataclasses import dataclass
from functools import cache, cached_property

import torch

from apollo_ds.engine.processes import Processes

_SIDE = {"cuda": 8192, "cpu": 512}
_REPEATS = 20


@dataclass(frozen=True)
class Utilisation:
    """How much of what the hardware can do is used, by all ranks together."""

    processes: Processes
    precision: str
    """fp32, bf16 or fp16."""
    stated: float | None
    """Operations a second of one rank at best; measured at the first use if None."""

    def of(self, flops_per_second: float) -> float:
        """Operations a second of all ranks, as a fraction of the best. All ranks together, at the first use."""
        return flops_per_second / self._peak

    @cached_property
    def _peak(self) -> float:
        if self.stated is not None:
            return self.stated * self.processes.world_size
        return measured_peak(self.processes, self.precision)


def measured_peak(processes: Processes, precision: str) -> float:
    """Operations a second of matrix products in a precision, on all ranks at once, added up. Takes a moment, once.

    `precision` is fp32, bf16 or fp16. Utilisation is a fraction of this figure.
    """
    rate = torch.tensor([_rate(processes.device, precision)], dtype=torch.float64, device=processes.device)
    return float(processes.sum(rate))


@cache
def _rate(device: torch.device, precision: str) -> float:
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    side = _SIDE[device.type]
    matrix = torch.randn(side, side, device=device).to(dtype)
    seconds = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        matrix @ matrix
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    # What is possible is what the fastest did: on a machine that is shared, the others waited for something.
    return 2 * side**3 / min(seconds)


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory this rank has held so far: of the GPU, or resident on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
