"""The command line of the preparation, in a process of its own or in this one."""

import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import psutil

from data_prep.__main__ import main

_NEVER_ENDS = """
import os, sys, time
from data_prep.__main__ import main

def wait_to_be_stopped(event, arguments):
    if event == "os.rename" and os.path.basename(arguments[1]) == "manifest.json":
        time.sleep(600)

sys.addaudithook(wait_to_be_stopped)
main()
"""
SHARDS = ("train.bin", "train.idx", "validation.bin", "validation.idx", "tokenizer/tokenizer.json")


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "data_prep", *map(str, arguments)]


def without_end(*arguments: str | Path) -> list[str]:
    """The same, but it waits before it makes the manifest, so that whoever would stop it never comes too late."""
    return [sys.executable, "-c", _NEVER_ENDS, *map(str, arguments)]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), check=False, capture_output=True, text=True, timeout=300)


def run_here(*arguments: str | Path) -> None:
    """The same in this process, which imports megatron-core but once, for what the command's own process is no part of.

    Raises:
        SystemExit: it fails.
    """
    with patch.object(sys, "argv", ["apollo-prep", *map(str, arguments)]):
        main()


def shards(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in SHARDS}


def kill_and_run_again(build: list[str | Path], out: Path, when: list[str], delays: list[float]) -> None:
    """Kill a build, main process only, so many seconds after a file of each pattern is there, and then let it end."""
    for pattern, delay in zip(when, delays, strict=True):
        process = psutil.Popen(without_end(*build), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not list(out.glob(pattern)):
            assert process.poll() is None, f"ended before there was {pattern}"
            time.sleep(0.002)
        time.sleep(delay)
        workers = process.children()
        process.kill()
        process.wait()
        assert not (out / "manifest.json").exists()
        assert not psutil.wait_procs(workers, timeout=10)[1], "workers outlive the process that started them"
    assert run(*build).returncode == 0
