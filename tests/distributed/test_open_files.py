"""A rank raises its limit of open files, and says how many it needs where that is too low. Each case in a process."""

import resource
import subprocess
import sys

import pytest

_JOIN = """
import os, resource, sys
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import UserError

try:
    Processes.join()
except UserError as error:
    print(error)
else:
    print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def joined(soft: int, hard: int, monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(
        [sys.executable, "-c", _JOIN],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


def test_a_rank_raises_its_soft_limit_to_the_hard_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert joined(300, 4000, monkeypatch, MASTER_PORT="0") == "4000 4000\n"


def test_a_limit_that_is_too_low_for_so_many_ranks_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "480", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29501"}
    assert joined(1024, 1024, monkeypatch, **ranks) == (
        "ulimit -n: 480 ranks need 2,668 open files in each process, and the limit is 1,024; "
        "raise it on every node, hard limit included: `ulimit -n 2668`\n"
    )
