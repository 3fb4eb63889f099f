"""The GPUs that a process may use, without importing torch, and which of them each of several runs has."""

import os
import re
import subprocess
from collections.abc import Sequence

from apollo_ds.errors import UserError

_CPU_RANKS = 2
_GPU = re.compile(r"^GPU (\d+): .*\(UUID: (\S+)\)$", re.MULTILINE)


def visible_gpus() -> list[str]:
    """Those that `nvidia-smi` lists and CUDA_VISIBLE_DEVICES, if it is set, lets a process see, by its names for them.

    None where DS_ACCELERATOR=cpu wants none.
    """
    if os.environ.get("DS_ACCELERATOR") == "cpu":
        return []
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    uuids = dict(_GPU.findall(listed))
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return list(uuids) if chosen is None else _chosen(chosen.split(","), uuids)


def usual_ranks() -> int:
    """How many ranks a run has on this machine: one on each GPU, or two on the CPU."""
    return len(visible_gpus()) or _CPU_RANKS


def _chosen(entries: Sequence[str], uuids: dict[str, str]) -> list[str]:
    """Entries are numbers or the beginnings of UUIDs. As CUDA does, stop at the first that names nothing.

    A slice of a GPU (MIG) is a process's only device.
    """
    found: list[str] = []
    for entry in (entry.strip() for entry in entries):
        if entry.startswith("MIG-"):
            return found or [entry]
        is_uuid = entry.startswith("GPU-") and any(uuid.startswith(entry) for uuid in uuids.values())
        if entry not in uuids and not is_uuid:
            break
        found.append(entry)
    return found


def divide(gpus: Sequence[str], jobs: int) -> list[dict[str, str]]:
    """What the environment of each job has beside the others': as many GPUs for each, what is left over for none.

    Raises:
        UserError: there are GPUs, but fewer than jobs.
    """
    if not gpus or jobs == 1:
        return [{} for _ in range(jobs)]
    if len(gpus) < jobs:
        raise UserError(
            f"--jobs {jobs}: each run needs a GPU, and this machine has {len(gpus)}; use --jobs {len(gpus)}"
        )
    each = len(gpus) // jobs
    return [{"CUDA_VISIBLE_DEVICES": ",".join(gpus[job * each : (job + 1) * each])} for job in range(jobs)]
