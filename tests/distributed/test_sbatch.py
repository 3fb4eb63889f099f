"""What launch/pretrain.sbatch asks of SLURM, which a script plays here: `test_slurm.py` has a real one of two nodes."""

import os
import subprocess
from pathlib import Path

import pytest
from project import PROJECT

SCRIPT = PROJECT / "launch" / "pretrain.sbatch"
NODES = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_CPUS_PER_TASK": "6",
}
_SRUN = 'printf "%s\\n" "MASTER_ADDR=$MASTER_ADDR" "MASTER_PORT=$MASTER_PORT" "$@" >asked; exit "${ENDS:-0}"'
_SCONTROL = """case $* in
    "show hostnames n[1-2]") printf "n1\\nn2\\n" ;;
    "--oneliner show node n1") echo "NodeName=n1 NodeAddr=10.0.0.1 NodeHostName=n1" ;;
    *) echo "$*" >>asked ;;
esac"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project, with a `bin` of commands that only tell what is asked of them."""
    for name, script in {"bin/srun": _SRUN, "bin/scontrol": _SCONTROL}.items():
        command(tmp_path / name, script)
    return tmp_path


def command(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def asked(folder: Path, *words: str, code: int = 0, **shell: str) -> list[str]:
    """Run the script as a job; returns what it asked `srun` for, a word a line, after its environment's."""
    environment = {"PATH": f"{folder}/bin:{os.environ['PATH']}", **NODES, **shell, "ENDS": str(code)}
    job = ["bash", str(SCRIPT), *words]
    done = subprocess.run(job, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    return (folder / "asked").read_text().splitlines()


def test_ranks_of_several_nodes_meet_at_the_first_one_s_address(folder: Path) -> None:
    assert asked(folder)[:2] == ["MASTER_ADDR=10.0.0.1", "MASTER_PORT=20007"]


def test_ranks_of_one_node_stay_on_its_loopback_interface(folder: Path) -> None:
    told = asked(folder, SLURM_JOB_NUM_NODES="1", MASTER_PORT="4000")
    assert told[:2] == ["MASTER_ADDR=127.0.0.1", "MASTER_PORT=4000"]


def test_srun_is_told_the_cpus_and_the_user_s_options(folder: Path) -> None:
    given = ["--container-image=a.sqsh", "--container-mounts=/data,/*"]
    assert asked(folder, SRUN_OPTIONS="  ".join(given))[2:7] == ["--wait=60", "--cpus-per-task=6", *given, "bash"]
    assert asked(folder, SLURM_CPUS_PER_TASK="")[2:4] == ["--wait=60", "bash"]


def test_a_run_that_was_stopped_goes_back_to_the_queue(folder: Path) -> None:
    assert asked(folder, code=75)[-1] == "requeue 7"


@pytest.mark.parametrize("taken", ["project", "path"])
@pytest.mark.parametrize("words", [(), ("demo", "steps=3", "method={name: apollo}")], ids=len)
def test_a_task_takes_the_project_s_python_where_it_runs(
    taken: str, words: tuple[str, ...], folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In a container, it may not. Nor need a container start in the project's folder."""
    told = asked(folder, *words)
    rank = told[told.index("bash") :]
    start = rank.index(str(folder))
    assert rank[start + 1 :] == list(words)
    command(folder / ".venv/bin/python3", 'echo project "$@"' if taken == "project" else "exit 127")
    command(folder / "bin/python3", 'echo path "$@"')
    place = {"SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NTASKS": "4", "SLURM_NNODES": "2"}
    done = subprocess.run(
        ["bash", "-c", "\n".join(rank[2:start]), *rank[start:]],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env={"PATH": f"{folder}/bin:{os.environ['PATH']}", **place},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == ([taken, "-u", "launch/pretrain.sh", *" ".join(words).split()], "")
