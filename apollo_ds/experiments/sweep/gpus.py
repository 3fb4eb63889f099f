"""Which of a machine's GPUs each of several runs has."""

import os
import shutil
import subprocess

from apollo_ds.errors import UserError


def visible_gpus() -> list[str]:
    """The GPUs that a run may use, as CUDA_VISIBLE_DEVICES names them; none on a machine without, or if told so."""
    if os.environ.get("DS_ACCELERATOR") == "cpu" or not shutil.which("nvidia-smi"):
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name.strip()]
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(number) for number in range(sum(line.startswith("GPU ") for line in listed.splitlines()))]


def divide(gpus: list[str], jobs: int) -> list[dict[str, str]]:
    """What the environment of each job has beside the others': as many GPUs for each, what is left over for none.

    Raises:
        UserError: there are GPUs, but fewer than jobs.
    """
    if not gpus or jobs == 1:
        return [{} for _ in range(jobs)]
    if len(gpus) < jobs:
        raise UserError(f"--jobs {jobs}: there are only {len(gpus)} GPUs, and a run needs one; use --jobs {len(gpus)}")
    each = len(gpus) // jobs
    return [{"CUDA_VISIBLE_DEVICES": ",".join(gpus[job * each : (job + 1) * each])} for job in range(jobs)]
