"""Moments on the device, to be compared later, so that taking the time makes nobody wait."""

import time
from typing import Any

import torch


def moment(device: torch.device) -> Any:
    """When the device has done all that it was given so far."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def seconds_between(begin: Any, end: Any) -> float:
    """Seconds from one moment to another, both of which the device must have reached."""
    return end - begin if isinstance(begin, float) else begin.elapsed_time(end) / 1000
