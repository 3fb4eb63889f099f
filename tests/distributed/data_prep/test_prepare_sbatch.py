"""launch/prepare.sbatch: what it asks of SLURM, which a script plays, and an array on a real one of two nodes."""

import os
import subprocess
from pathlib import Path

import pytest
import slurm
from prep_command import run_here, shards
from project import PROJECT
from slurm_jobs import needs_slurm
from texts import make_texts, write_jsonl

SCRIPT = PROJECT / "launch" / "prepare.sbatch"
ARRAY = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8"}


def asked(folder: Path, *words: str, **shell: str) -> list[str]:
    """Run the script as a job; returns what it asked `srun` for, a word a line."""
    srun = folder / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\nexit "${ENDS:-0}"\n')
    srun.chmod(0o755)
    environment = {"PATH": f"{srun.parent}:{os.environ['PATH']}", **shell}
    job = ["bash", str(SCRIPT), *words]
    done = subprocess.run(job, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (int(shell.get("ENDS", 0)), "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("shell", "added"),
    [
        (ARRAY, ["--part", "3/8"]),
        ({**ARRAY, "PARTS": "16", "ENDS": "2"}, ["--part", "3/16"]),
        ({}, ["--merge"]),
    ],
)
def test_a_task_of_an_array_encodes_and_another_job_merges(
    tmp_path: Path, shell: dict[str, str], added: list[str]
) -> None:
    told = asked(tmp_path, "--source", "a b*", "--out", "o", **shell)
    assert told[told.index(str(tmp_path)) + 1 :] == ["--source", "a b*", "--out", "o", *added]


def test_srun_is_told_the_cpus_and_the_user_s_options(tmp_path: Path) -> None:
    given = ["--container-image=a.sqsh", "--container-mounts=/data,/*"]
    told = asked(tmp_path, SRUN_OPTIONS="  ".join(given), SLURM_CPUS_PER_TASK="6")
    assert told[:4] == ["--cpus-per-task=6", *given, "bash"]


@needs_slurm
def test_an_array_on_two_nodes_and_a_merge_that_waits_for_it(tmp_path: Path) -> None:
    options: list[str | Path] = ["--tokenizer", "bpe", "--vocab-size", "400"]
    for i in range(4):
        options += ["--source", write_jsonl(tmp_path / f"s{i}.jsonl", make_texts(50, seed=i))]
    run_here("build", *options, "--out", tmp_path / "whole", "--workers", "1")
    words = [str(SCRIPT), *map(str, options), "--out", str(tmp_path / "out")]
    with slurm.cluster() as cluster:
        submit = ["sbatch", "--parsable", "--cpus-per-task=1", "--time=10", f"--output={tmp_path}/%A-%a.log"]
        array = cluster.command(*submit, "--array=1-3", *words, cwd=PROJECT)
        merge = cluster.command(*submit, f"--dependency=afterok:{array}", *words, cwd=PROJECT)
        state = cluster.wait_for_end(merge, 180)
        said = "".join(path.read_text() for path in sorted(tmp_path.glob("*.log")))
    assert state == "COMPLETED", said
    assert all(f"part {i}/3: " in said for i in (1, 2, 3))
    assert shards(tmp_path / "out") == shards(tmp_path / "whole")
