"""A real SLURM of two nodes on this host: munged, slurmctld and two slurmd, with everything in one folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel")
GOING_ON = ("PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SIGNALING")
"""States of a job that has not ended; one that is put back into the queue passes through several of them."""
_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first_node}-{second_node}] CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """What has to be installed first (Debian: slurm-wlm and munge), or `root` if that is what this user is not."""
    found = [name for name in NEEDED if shutil.which(name) is None]
    return found or ([] if os.getuid() == 0 else ["root"])


class Cluster:
    """Commands to a running SLURM."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def command(self, *words: str, cwd: Path | None = None) -> str:
        """The output of a SLURM command; fails with what it printed."""
        done = subprocess.run(words, env=self.environment, cwd=cwd, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def job(self, job: str) -> dict[str, str]:
        """What SLURM knows of a job, by SLURM's names; of the first task, if it is an array."""
        shown = self.command("scontrol", "--oneliner", "show", "job", job).splitlines()[0]
        return dict(word.split("=", 1) for word in shown.split() if "=" in word)

    def wait_for_end(self, job: str, seconds: float) -> str:
        """The state in which a job ends: COMPLETED, FAILED, ..."""
        give_up = time.monotonic() + seconds
        while (state := self.job(job)["JobState"]) in GOING_ON:
            assert time.monotonic() < give_up, f"job {job} is still {state}"
            time.sleep(0.5)
        return state


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Start it; stop it at the end, with all jobs."""
    folder = Path(mkdtemp(prefix="apollo-ds-slurm-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    controller, first_node = _free_ports()
    names = {"folder": folder, "host": socket.gethostname(), "port": controller, "cpus": os.cpu_count()}
    (folder / "slurm.conf").write_text(
        _CONFIGURATION.format(**names, first_node=first_node, second_node=first_node + 1).lstrip()
    )
    result = Cluster(folder)
    files = {name: folder / f"munge.{name}" for name in ("socket", "pid", "log", "seed")}
    munge = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={files['socket']}"]
    munge += [f"--pid-file={files['pid']}", f"--log-file={files['log']}", f"--seed-file={files['seed']}"]
    commands = [munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "n1"], ["slurmd", "-D", "-N", "n2"]]
    daemons = []
    try:
        for command in commands:
            log = (folder / f"daemon-{len(daemons)}.out").open("w")
            daemons.append(subprocess.Popen(command, env=result.environment, stdout=log, stderr=subprocess.STDOUT))
            time.sleep(1)
        _wait_until_idle(result)
        yield result
    finally:
        _cancel_all(result)
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _cancel_all(started: Cluster) -> None:
    def quietly(*words: str) -> bytes:
        return subprocess.run(words, env=started.environment, capture_output=True, check=False).stdout

    for _ in range(60):
        quietly("scancel", "--signal=KILL", "--full", "--user=root")
        quietly("scancel", "--user=root")
        if not quietly("squeue", "--noheader"):
            return
        time.sleep(0.5)


def _wait_until_idle(started: Cluster) -> None:
    give_up = time.monotonic() + 60
    while started.command("sinfo", "--noheader", "--format=%T %D") != "idle 2":
        assert time.monotonic() < give_up, started.command("sinfo", "--long", "--Node")
        time.sleep(0.5)


def _free_ports() -> tuple[int, int]:
    """One for the controller, and the first of two neighbours for the nodes."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        try:
            for neighbour in (port + 1, port + 2):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", neighbour))
        except OSError:
            continue
        return port, port + 1
