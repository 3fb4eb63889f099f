"""What the machine can do at best: the figure that utilisation is a fraction of."""

import time
from statistics import median

import torch

from apollo_ds.engine import Processes
from apollo_ds.recipe import Precision

_SIDE = {"cuda": 8192, "cpu": 1024}
_REPEATS = 5


def measured_peak(processes: Processes, precision: Precision) -> float:
    """Operations a second of matrix products in a precision, on all ranks at once, added up. Takes a moment."""
    device = processes.device
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    side = _SIDE[device.type]
    matrix = torch.randn(side, side, device=device).to(dtype)
    seconds = []
    for _ in range(_REPEATS + 1):
        began = time.perf_counter()
        matrix @ matrix
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    rate = 2 * side**3 / median(seconds[1:])  # the first also sets things up
    return float(processes.sum(torch.tensor([rate], dtype=torch.float64, device=device)))
