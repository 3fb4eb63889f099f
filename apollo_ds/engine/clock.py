"""Time stamps on the device. They are compared later, so the host does not wait when it takes one."""

import time
from typing import Any

import torch


def timestamp(device: torch.device) -> Any:
    """A time stamp of the moment at which the device finishes the work that is queued now."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def seconds_between(begin: Any, end: Any) -> float:
    """The seconds between two time stamps. The device must have reached both."""
    return end - begin if isinstance(begin, float) else begin.elapsed_time(end) / 1000
