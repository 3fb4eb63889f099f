"""The processes of a run: their ranks, how they connect, and how they exchange values."""

import errno
import logging
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from apollo_ds.engine.device import take_device
from apollo_ds.engine.meeting import meeting_place
from apollo_ds.engine.open_files import allow_connections, connect_when_needed
from apollo_ds.engine.tested_versions import doubt_of_deepspeed
from apollo_ds.errors import UserError
from apollo_ds.models.sample_parts import SampleParts
from apollo_ds.ranks import free_port
from data_prep.own_fault import sentence_of

_log = logging.getLogger(__name__)
_Value = TypeVar("_Value")
_PATIENCE = timedelta(days=7)
"""torch's limit for a rank that does not answer. It is longer than all limits of `training/faults/watchdog.py`, which
decides when a rank hangs."""
_USUAL_PORT = "29500"
"""The port at which ranks meet if their launcher names none. It is torch's default too."""
_CPU_BF16 = re.compile(r"\b(avx512_bf16|amx_bf16|bf16)\b")


@dataclass(frozen=True)
class Processes:
    """This process, its rank, and its connection to the other ranks of the run."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes files and prints."""
        return self.rank == 0

    @classmethod
    def join(cls, report: Callable[[str], None] = lambda doing: None) -> "Processes":
        """Join the other ranks by the launcher's environment variables. Without them, this process is the only rank.

        `report` is called with a description of each stage of the work.

        Raises:
            UserError: another process has the port at which the ranks would meet, this rank has no GPU, or too few
                files may be open.
        """
        for name, alone in {
            "RANK": "0",
            "LOCAL_RANK": "0",
            "WORLD_SIZE": "1",
            "MASTER_ADDR": "127.0.0.1",
        }.items():
            os.environ.setdefault(name, alone)
        if not os.environ.get("MASTER_PORT"):  # a single rank connects to nobody
            os.environ["MASTER_PORT"] = free_port() if os.environ["WORLD_SIZE"] == "1" else _USUAL_PORT
        if os.environ["RANK"] == "0" and (doubt := doubt_of_deepspeed()):
            _log.warning(doubt)
        _quieten()
        import deepspeed
        from deepspeed.accelerator import get_accelerator

        _quieten_deepspeed()
        # Else DeepSpeed compiles an all-reduce for inference, which takes 69 MB of /dev/shm on each rank.
        deepspeed.ops.__compatible_ops__ = {}
        accelerator = get_accelerator()
        take_device(accelerator)
        allow_connections(int(os.environ["WORLD_SIZE"]), accelerator.device_name())
        connect_when_needed(os.environ)
        # Later groups do not inherit the first one's limit, and DeepSpeed sets none for the groups that average.
        distributed_c10d.default_pg_timeout = distributed_c10d.default_pg_nccl_timeout = _PATIENCE
        report("joining the other ranks")
        try:
            deepspeed.init_distributed(verbose=False, timeout=_PATIENCE, init_method=meeting_place())
        except (dist.DistNetworkError, OSError) as error:
            if "EADDRINUSE" not in str(error) and getattr(error, "errno", None) != errno.EADDRINUSE:
                raise
            raise UserError(
                f"MASTER_PORT: another process of this machine has the port {os.environ['MASTER_PORT']}; give "
                "`deepspeed` a free one by --master_port, and any other launcher by the variable MASTER_PORT"
            ) from None
        device = torch.device(accelerator.current_device_name())
        return cls(rank=dist.get_rank(), world_size=dist.get_world_size(), device=device)

    @property
    def computes_bf16(self) -> bool:
        """Whether the hardware has bf16 arithmetic; a CPU without it is tens of times slower in bf16 than in fp32."""
        if self.device.type == "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        try:
            return bool(_CPU_BF16.search(Path("/proc/cpuinfo").read_text()))
        except OSError:
            return False

    def select_device(self) -> None:
        """Make this rank's GPU the current one of the calling thread, where each thread has its own."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The element-wise sum over all ranks, on this rank's device. Values that are already there are overwritten."""
        values = values.to(self.device)  # NCCL needs them there, and with offloading some are on the CPU
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def sharing(self, degree: int) -> SampleParts | None:
        """This rank's part of each sample if `degree` neighbouring ranks share it; None for 1.

        At the first call all ranks must call it together.
        """
        return SampleParts(_neighbours(degree), degree, self.rank % degree) if degree > 1 else None

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.world_size > 1:
            dist.barrier()

    def on_first(self, action: Callable[[], _Value]) -> _Value:
        """Run an action on the first rank, and return its result on every rank. The result must be picklable.

        Raises:
            UserError: the action raised it, or could not read or write a file. Every rank raises it.
        """
        outcome: list[Any] = [None, None]
        if self.is_first:
            try:
                outcome[0] = action()
            except (UserError, OSError) as error:
                outcome[1] = str(error) if isinstance(error, UserError) else sentence_of(error)
        if self.world_size > 1:
            dist.broadcast_object_list(outcome, src=0)
        if outcome[1] is not None:
            raise UserError(outcome[1])
        return outcome[0]

    def of_all(self, value: _Value) -> list[_Value]:
        """Return the values of all ranks, by rank, on every rank. They must be picklable."""
        values: list[Any] = [value]
        if self.world_size > 1:
            values = [None] * self.world_size
            dist.all_gather_object(values, value)
        return values

    def leave(self) -> None:
        """Close the connection to the other ranks. All ranks call it."""
        _neighbours.cache_clear()
        if dist.is_initialized():
            dist.destroy_process_group()


@cache
def _neighbours(degree: int) -> dist.ProcessGroup:
    """This rank's group of `degree` ranks with consecutive numbers."""
    group: dist.ProcessGroup = dist.new_subgroups(degree)[0]
    return group


def _quieten() -> None:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DEEPSPEED_LOG_LEVEL", "warning")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"(torch|deepspeed)\b.*")


def _quieten_deepspeed() -> None:
    """Show only DeepSpeed's warnings, in the place where this project's are shown."""
    log = logging.getLogger("DeepSpeed")
    log.setLevel(logging.WARNING)
    log.handlers.clear()
    log.propagate = True
