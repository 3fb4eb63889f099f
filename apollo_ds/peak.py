"""What the machine can do at best: the figure that utilisation is a fraction of."""

import time
from functools import cache

import torch

from apollo_ds.deepspeed_config import Precision
from apollo_ds.engine import Processes

_SIDE = {"cuda": 8192, "cpu": 512}
_REPEATS = 20


def measured_peak(processes: Processes, precision: Precision) -> float:
    """Operations a second of matrix products in a precision, on all ranks at once, added up. Takes a moment, once."""
    rate = torch.tensor([_rate(processes.device, precision)], dtype=torch.float64, device=processes.device)
    return float(processes.sum(rate))


@cache
def _rate(device: torch.device, precision: Precision) -> float:
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
