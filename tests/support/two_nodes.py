"""Two machines that are reached by ssh, played by two sshd on this one's loopback interface, with all in one folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

NEEDED = ("sshd", "ssh", "ssh-keygen", "pdsh")
NODES = ("node1", "node2")
_SEARCHED = f"{os.environ['PATH']}:/usr/sbin"
_SERVER = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
PrintLastLog no
SetEnv DS_ACCELERATOR=cpu HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 GOMP_SPINCOUNT=0
"""
_CLIENT = """
Host {node}
    HostName 127.0.0.1
    Port {port}
    IdentityFile {folder}/key
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    GlobalKnownHostsFile /dev/null
    LogLevel ERROR
"""
_PRIVILEGES = Path("/run/sshd")
"""A folder that sshd wants where root starts it."""


def missing() -> list[str]:
    """What has to be installed first (Debian: openssh-server and pdsh)."""
    return [name for name in NEEDED if shutil.which(name, path=_SEARCHED) is None]


@contextmanager
def two_nodes() -> Iterator[str]:
    """Start them; gives a PATH by whose `ssh` they are reached as node1 and node2. They are gone at the end."""
    folder = Path(mkdtemp(prefix="apollo-ds-nodes-", dir="/tmp"))
    daemons: list[subprocess.Popen[bytes]] = []
    made = os.getuid() == 0 and not _PRIVILEGES.exists()
    if made:
        _PRIVILEGES.mkdir(mode=0o755)
    try:
        for name in ("host_key", "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        daemons += [_start(node, folder) for node in NODES]
        yield f"{_client(folder)}:{os.environ['PATH']}"
    finally:
        for daemon in daemons:
            daemon.terminate()
            daemon.wait(10)
        shutil.rmtree(folder, ignore_errors=True)
        if made:
            with suppress(OSError):
                _PRIVILEGES.rmdir()


def _start(node: str, folder: Path) -> "subprocess.Popen[bytes]":
    """One node's sshd, once it answers, and how a client reaches it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    configuration = folder / f"{node}.conf"
    configuration.write_text(_SERVER.format(port=port, folder=folder).lstrip())
    with (folder / "ssh_config").open("a") as known, (folder / f"{node}.log").open("w") as log:
        known.write(_CLIENT.format(node=node, port=port, folder=folder))
        command = [str(shutil.which("sshd", path=_SEARCHED)), "-D", "-e", "-f", str(configuration)]
        daemon = subprocess.Popen(command, stdout=log, stderr=log)
    for _ in range(100):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            break
        assert daemon.poll() is None, (folder / f"{node}.log").read_text()
        time.sleep(0.05)
    return daemon


def _client(folder: Path) -> Path:
    """A folder with an `ssh` that knows the nodes."""
    place = folder / "bin"
    place.mkdir()
    script = place / "ssh"
    script.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    script.chmod(0o755)
    return place
