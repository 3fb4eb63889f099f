"""Time stamps on the device. They are compared later, so that the host need not wait when one is taken."""

import time
from typing import Any

import torch


def timestamp(device: torch.device) -> Any:
    """A time stamp of when the device will have finished the work queued so far."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def seconds_between(begin: Any, end: Any) -> float:
    """Seconds between two time stamps, both of which the device must have reached."""
    return end - begin if isinstance(begin, float) else begin.elapsed_time(end) / 1000
