"""What becomes of freed memory: kept while steps are taken, given back at a growth."""

import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import psutil, torch
from apollo_ds.engine.malloc import keep_freed_memory, return_freed_memory

def resident() -> float:
    return psutil.Process().memory_info().rss / 2**20

def use_and_free() -> float:
    torch.ones(100, 2**18)  # 100 MiB
    return resident()

sizes = [resident()]
keep_freed_memory()
sizes.append(use_and_free())
return_freed_memory()
sizes.append(resident())
sizes.append(use_and_free())
print(*[round(size - sizes[0]) for size in sizes[1:]])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's heap can be told")
def test_freed_memory_is_kept_for_steps_and_given_back_at_a_growth() -> None:
    printed = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    kept, returned, not_kept = map(int, printed.stdout.split())
    assert kept > 90
    assert returned < 20
    assert not_kept < 20
