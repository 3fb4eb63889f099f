"""Memory that is freed stays with the process until it is given back."""

import subprocess
import sys

import pytest

_SCRIPT = """
from pathlib import Path

import torch

from apollo_ds.engine.heap import keep_freed_memory, return_freed_memory


def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024


keep_freed_memory()
before = resident()
tensors = [torch.ones(50, 2**18) for _ in range(4)]  # 50 MiB each
del tensors
kept = resident()
return_freed_memory()
print(kept - before, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the settings are glibc's")
def test_freed_memory_is_kept_until_it_is_given_back() -> None:
    printed = subprocess.run([sys.executable, "-c", _SCRIPT], check=True, capture_output=True, text=True).stdout
    kept, left = map(int, printed.splitlines()[-1].split())
    assert kept > 190
    assert left < 20
