"""The speed of a rank's hardware, the precisions that it supports, and the memory that the rank has used."""

import re
import resource
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import torch
from deepspeed.accelerator import get_accelerator

from apollo_ds.engine.processes import Processes
from apollo_ds.errors import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The number formats by their names in this project."""
_SIDE = {"cuda": 8192, "cpu": 512}
_REPEATS = 20
_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)
_RESET_PEAK = "5"
"""Written to /proc/self/clear_refs, this resets the peak of resident memory (proc(5))."""


@dataclass(frozen=True)
class Utilisation:
    """The fraction of the hardware's best speed that all ranks together reach."""

    processes: Processes
    precision: str
    """fp32, bf16 or fp16."""
    stated: float | None
    """The best speed of one rank, in floating-point operations a second. If None, it is measured at the first use."""

    def of(self, flops_per_second: float) -> float:
        """Divide the operations a second of all ranks by the best. At the first use all ranks must call it together."""
        return flops_per_second / self._peak

    @cached_property
    def _peak(self) -> float:
        if self.stated is not None:
            return self.stated * self.processes.world_size
        return measured_peak(self.processes, self.precision)


def check_precision(processes: Processes, precision: str) -> None:
    """Check that the device computes in a precision. `check_ready` may find out earlier, without torch.

    Raises:
        UserError: the device does not compute in it.
    """
    if precision == "fp16" and not get_accelerator().is_fp16_supported():
        raise UserError(f"deepspeed.fp16: rank {processes.rank} has no GPU that computes in it; use bf16 or fp32")
    if precision == "bf16" and processes.device.type == "cuda" and not processes.computes_bf16:
        raise UserError("deepspeed.bf16: this GPU does not compute in it; use bf16.enabled=auto or fp16")


def measured_peak(processes: Processes, precision: str) -> float:
    """Measure matrix products in a precision on all ranks at once. Returns the sum of their operations a second.

    `precision` is fp32, bf16 or fp16. Utilisation is a fraction of this figure.
    """
    rate = torch.tensor([_rate(processes.device, precision)], dtype=torch.float64, device=processes.device)
    return float(processes.sum(rate))


@cache
def _rate(device: torch.device, precision: str) -> float:
    dtype = DTYPES[precision]
    side = _SIDE[device.type]
    matrix = torch.randn(side, side, device=device).to(dtype)
    seconds = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        matrix @ matrix
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    # The fastest product counts. On a shared machine the slower ones had to wait for other programs.
    return 2 * side**3 / min(seconds)


def peak_memory_bytes(device: torch.device) -> int:
    """The peak since `reset_peak_memory`, in bytes: of GPU memory, or of resident memory on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        found = _PEAK.search(Path("/proc/self/status").read_text())
    except OSError:
        found = None
    kilobytes = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * 1024


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak to the memory that is held now. On a CPU this works on Linux only."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
