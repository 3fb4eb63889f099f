"""What the ranks of a run do together."""

import torch
from emulated_gpu import group_without_cpus

from apollo_ds.engine.processes import Processes


def test_values_on_the_cpu_are_added_up_where_the_ranks_have_gpus() -> None:
    """With offloading some are there, and NCCL takes only what is on a GPU."""
    with group_without_cpus() as device:
        processes = Processes(rank=0, world_size=2, device=device)
        assert processes.sum(torch.ones(2)).device == device
