"""What docs/security.md promises of the network and of files, seen from outside."""

import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from project import PROJECT
from ranks import pool

from apollo_ds.engine.processes import Processes


def test_no_command_opens_a_connection_or_unpickles_a_file(tmp_path: Path) -> None:
    """Nor does a rank that is alone need the port that launchers use by default."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    environment.pop("MASTER_PORT", None)
    command = [sys.executable, str(PROJECT / "tests" / "support" / "no_network.py"), str(tmp_path)]
    with socket.socket() as taken:
        with suppress(OSError):  # another process has it, which is as good
            taken.bind(("127.0.0.1", 29500))
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for made in ("text/manifest.json", "model/model.safetensors", "scores/results.json", "page/compare.md"):
        assert (tmp_path / made).is_file()


def test_ranks_of_one_machine_listen_on_its_loopback_interface_alone() -> None:
    found = pool(2).run(listening)
    assert all(found)
    assert {address for of_rank in found for address in of_rank} == {"0100007F"}


def listening(_: Processes) -> list[str]:
    """The addresses that this process listens on, as /proc has them: 127.0.0.1 is 0100007F."""
    names = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    tables = [Path(f"/proc/self/net/{name}").read_text() for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()]
    return [row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in names]
