"""Starting the launch script as a user does, and following a run from outside."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
from project import PROJECT

from apollo_ds.experiments.events import read_metrics

SCRIPT = "launch/pretrain.sh"
TIMEOUT_SECONDS = 300


def free_port() -> str:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def environment(port: str | None = None) -> dict[str, str]:
    """A user's shell, in which nothing is set that a launcher sets."""
    launchers = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    inherited = {key: value for key, value in os.environ.items() if key not in launchers}
    return {**inherited, "DS_ACCELERATOR": "cpu", "COLUMNS": "200", "MASTER_PORT": port or free_port()}


def start(*command: str, port: str | None = None) -> "subprocess.Popen[str]":
    """Start a command in the project's folder; ranks that it launches meet at the port."""
    return subprocess.Popen(
        command,
        cwd=PROJECT,
        env=environment(port),
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


def wait_for_steps(process: "subprocess.Popen[str]", out: Path, steps: int, resumes: int = 0) -> None:
    """Wait until a run that has been resumed so many times has recorded so many steps since."""
    give_up = time.monotonic() + TIMEOUT_SECONDS
    while _steps_since(out, resumes) < steps:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < give_up
        time.sleep(0.01)


def _steps_since(out: Path, resumes: int) -> int:
    metrics = out / "metrics.jsonl"
    seen, steps = 0, 0
    for event in read_metrics(metrics) if metrics.is_file() else []:
        if event["event"] == "resume":
            seen, steps = seen + 1, 0
        steps += event["event"] == "step"
    return steps if seen == resumes else 0


def ranks_of(out: Path) -> list[psutil.Process]:
    """The processes that train a run, which was started with its folder as `out=`."""
    named = [p for p in psutil.process_iter(["cmdline"]) if f"out={out}" in (p.info["cmdline"] or [])]
    return [process for process in named if rank_of(process) is not None]


def rank_of(process: psutil.Process) -> str | None:
    """The rank that a process is; None if it is none."""
    try:
        return process.environ().get("RANK")
    except psutil.Error:
        return None


def last_saved(out: Path) -> int:
    """The step of a run's newest checkpoint."""
    return int((out / "checkpoints" / "latest").read_text().removeprefix("step-"))
