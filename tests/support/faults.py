"""File operations that fail at will: after `preload`, `arm` lets the N-th one of a process fail.

The library faults.c sees every write, truncation, fsync, rename, removal and new file below one folder, whichever
language makes it. Forked children share its state.
"""

import ctypes
import os
import subprocess
import sys
from enum import IntEnum
from functools import cache
from pathlib import Path
from tempfile import mkdtemp


class Fault(IntEnum):
    """What happens at the operation."""

    NONE = 0
    NO_SPACE = 1
    """It and all later ones that need room fail; removing needs none."""
    IO_ERROR = 2
    """It alone fails."""
    KILL = 3
    """The process is killed before it."""
    TORN = 4
    """Half of it is written, or all that is no write is done, and the process is killed."""


def preload() -> None:
    """Start this script again with the library, unless it has it."""
    if "LD_PRELOAD" in os.environ:
        return
    library = Path(mkdtemp(prefix="apollo-ds-faults-"), "faults.so")
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "LD_PRELOAD": str(library)})


def arm(folder: Path, number: int, fault: Fault, log: Path) -> None:
    """Let operation `number` below a folder fail; each one up to it is written down in `log`, one a line."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    _library().faults_arm(os.fsencode(folder), number, fault, descriptor)


def disarm() -> int:
    """Let nothing fail any more; returns how many operations there were."""
    library = _library()
    library.faults_disarm()
    return library.faults_count()


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None)
    library.faults_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int]
    library.faults_count.restype = ctypes.c_long
    return library
