"""Removing lock files that killed processes left behind while torch compiled an extension.

DeepSpeed's extension for CPU ranks is compiled when a run starts. torch marks the build by a lock file. If a process
is killed during the build, every later one waits for ever for the file to disappear.
"""

import os
import time
from pathlib import Path

import psutil
from torch.utils.cpp_extension import get_default_build_root

_SECONDS_TO_SHOW_UP = 10.0


def remove_stale_locks() -> None:
    """Remove the locks that no process of this machine has open and that are at least ten seconds old."""
    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
    for lock in [*root.glob("*/lock"), *root.glob("*/*/lock")]:
        while _exists_unheld(lock):
            if time.time() - _modified(lock) > _SECONDS_TO_SHOW_UP:
                lock.unlink(missing_ok=True)
            else:
                time.sleep(0.5)


def _exists_unheld(lock: Path) -> bool:
    path = str(lock.resolve())
    for process in psutil.process_iter():
        try:
            if any(file.path == path for file in process.open_files()):
                return False
        except (psutil.Error, OSError):
            continue  # gone, or another user's
    return lock.exists()


def _modified(lock: Path) -> float:
    try:
        return lock.stat().st_mtime
    except FileNotFoundError:
        return 0.0
