"""How many GPUs a process may use, without importing torch."""

import os
import re
import subprocess

_GPU = re.compile(r"^GPU \d+: .*\(UUID: (\S+)\)$", re.MULTILINE)


def visible_gpus() -> int:
    """The GPUs that `nvidia-smi` lists and CUDA_VISIBLE_DEVICES, if it is set, lets a process see."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    uuids = _GPU.findall(listed)
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return len(uuids) if chosen is None else _chosen(chosen.split(","), uuids)


def _chosen(entries: list[str], uuids: list[str]) -> int:
    """Entries are numbers or the beginnings of UUIDs. As CUDA does, stop at the first that names nothing.

    A slice of a GPU (MIG) is a process's only device.
    """
    count = 0
    for entry in (entry.strip() for entry in entries):
        if entry.startswith("MIG-"):
            return count or 1
        is_number = entry.isdecimal() and int(entry) < len(uuids)
        if not is_number and not (entry.startswith("GPU-") and any(uuid.startswith(entry) for uuid in uuids)):
            break
        count += 1
    return count
