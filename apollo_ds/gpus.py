"""Which GPUs a process may use, and how several runs divide them. Nothing here imports torch."""

import os
import re
import subprocess
from collections.abc import Sequence

from apollo_ds.errors import UserError

_CPU_RANKS = 2
_GPU = re.compile(r"^GPU (\d+): .*\(UUID: (\S+)\)$", re.MULTILINE)


def visible_gpus() -> list[str]:
    """The names of the GPUs that this process may use, in the form that CUDA_VISIBLE_DEVICES takes.

    They are the GPUs that `nvidia-smi` lists. If CUDA_VISIBLE_DEVICES is set, they are only those that it names. The
    list is empty if DS_ACCELERATOR is `cpu`.
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
    """The entries of CUDA_VISIBLE_DEVICES that name a GPU, by its number or by the beginning of its UUID.

    As in CUDA, the list ends before the first entry that names none. A process that has a slice of a GPU (MIG) has no
    other device.
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
    """Divide GPUs among jobs, and return the environment variables that each job gets in addition.

    Each job gets equally many: with 8 GPUs and 3 jobs each gets 2, and 2 GPUs stay idle.

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
