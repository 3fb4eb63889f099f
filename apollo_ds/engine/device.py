"""Choose this rank's own GPU among those that it sees."""

import os
from typing import Protocol

from apollo_ds.errors import UserError


class Accelerator(Protocol):
    """The part of DeepSpeed's accelerator interface that is used here."""

    def device_name(self) -> str:
        """The kind of device, such as `cuda` or `cpu`."""

    def device_count(self) -> int:
        """How many devices this process sees."""

    def set_device(self, device_index: int) -> None:
        """Make one of them the current one."""


def take_device(accelerator: Accelerator) -> None:
    """Make this rank's GPU the current one, and write its number to LOCAL_RANK, from which DeepSpeed reads it.

    A launcher may let every rank of a machine see all GPUs, or each rank only its own, as SLURM does with
    `--gpus-per-task`.

    Raises:
        UserError: the launcher has given this rank no GPU.
    """
    if accelerator.device_name() == "cpu":
        return
    seen, local_rank = accelerator.device_count(), int(os.environ["LOCAL_RANK"])
    device = 0 if seen == 1 else local_rank
    if device >= seen:
        raise UserError(
            f"LOCAL_RANK: rank {os.environ['RANK']} is number {local_rank} of this machine, counted from 0, and sees "
            f"{seen} GPUs; start as many ranks on each machine as it has GPUs, or let each rank see only its own GPU"
        )
    os.environ["LOCAL_RANK"] = str(device)
    accelerator.set_device(device)
