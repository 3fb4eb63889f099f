"""Starting the launch script as a user does."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
SCRIPT = "launch/pretrain.sh"
TIMEOUT_SECONDS = 300


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def environment() -> dict[str, str]:
    """A user's shell: nothing is set that a launcher sets, and this Python's commands come first."""
    launchers = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    inherited = {key: value for key, value in os.environ.items() if key not in launchers}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**inherited, "PATH": path, "DS_ACCELERATOR": "cpu", "COLUMNS": "200", "MASTER_PORT": free_port()}


def start(*command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        cwd=PROJECT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Exit code and all output; kills what is left after the timeout."""
    try:
        output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, output
