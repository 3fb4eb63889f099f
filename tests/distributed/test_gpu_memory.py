"""A rank's torch has the setting of its GPU's memory, and says nothing of it where there is no GPU."""

import os
import subprocess
import sys
from pathlib import Path

from launching import free_port
from recipes import tiny, write

_RANK = """
import sys
from pathlib import Path
from apollo_ds.training.run import run

run(Path(sys.argv[1]), [])
import torch
print(torch._C._accelerator_getAllocatorSettings())
"""


def test_torch_reads_the_setting_as_a_rank_imports_it(tmp_path: Path) -> None:
    recipe = write(tiny("gpt2", tmp_path / "run", method="scratch", steps=2), tmp_path / "recipe.yaml")
    names = ("DS_ACCELERATOR", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    ended = subprocess.run(
        [sys.executable, "-c", _RANK, recipe],
        env={**environment, "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": free_port()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[-1] == "expandable_segments:True"
