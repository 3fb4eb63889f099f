"""How much memory a rank has used."""

import resource

import torch


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory this rank has held so far: of the GPU, or resident on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
