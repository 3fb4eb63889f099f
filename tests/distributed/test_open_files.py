"""A rank raises its limit of open files, and says how many it needs where that is too low. Each case in a process."""

import os
import resource
import subprocess
import sys

import pytest

from apollo_ds.engine.open_files import open_files
from apollo_ds.ranks import free_port

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
        "ulimit -n: 480 ranks need 1,760 open files in each process, and the limit is 1,024; "
        "raise it on every node, hard limit included: `ulimit -n 1760`\n"
    )


_TALK = """
import os
import torch
import torch.distributed as dist
from apollo_ds.engine.open_files import connect_when_needed
from apollo_ds.engine.processes import Processes
from apollo_ds.engine.side_channel import SideChannel

connect_when_needed(os.environ)
dist.init_process_group("gloo")
processes = Processes(dist.get_rank(), dist.get_world_size(), torch.device("cpu"))
before = len(os.listdir("/proc/self/fd"))
channel = SideChannel(processes)
assert channel.exchange(processes.rank) == list(range(processes.world_size))
assert channel.start_maximum(processes.rank).wait() == processes.world_size - 1
print(len(os.listdir("/proc/self/fd")) - before)
channel.exchange(None)  # nobody leaves while another counts
"""


def test_a_side_channel_does_not_connect_all_pairs() -> None:
    """Ten ranks with nine connections each would have more files open than this."""
    ranks, port = 10, free_port()
    place = {**os.environ, "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-c", _TALK]
    talking = [
        subprocess.Popen(command, env={**place, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(ranks)
    ]
    opened = [int(process.communicate(timeout=200)[0]) for process in talking]
    assert max(opened) < ranks
    assert open_files(512, "cuda") < 512 + 400
