"""Jobs of launch/pretrain.sbatch on a real SLURM, and following them."""

import time
from pathlib import Path

import pytest
import slurm
from launching import TIMEOUT_SECONDS
from project import PROJECT

from apollo_ds.config.recipe import Recipe
from apollo_ds.experiments.events import read_metrics

needs_slurm = pytest.mark.skipif(
    bool(slurm.missing()), reason=f"SLURM IS NOT TESTED: {', '.join(slurm.missing())} missing"
)
_SCRIPT = "launch/pretrain.sbatch"


def submit(cluster: slurm.Cluster, log: Path, *words: str, options: tuple[str, ...] = ()) -> str:
    """Submit the script with these words, on two nodes of one CPU rank each; returns the job's id."""
    nodes = ["--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", "--gpus-per-node=0", "--time=60"]
    command = ("sbatch", "--parsable", *nodes, f"--output={log}", *options, _SCRIPT, *words)
    return cluster.command(*command, cwd=PROJECT)


def wait_for_steps(cluster: slurm.Cluster, job: str, recipe: Recipe, log: Path, steps: int) -> None:
    """Wait until a job's run has recorded a step beyond this one."""
    metrics = recipe.out / "metrics.jsonl"
    give_up = time.monotonic() + TIMEOUT_SECONDS
    while not (metrics.is_file() and any(e["event"] == "step" and e["step"] > steps for e in read_metrics(metrics))):
        assert time.monotonic() < give_up
        assert cluster.job(job)["JobState"] in slurm.GOING_ON, log.read_text()
        time.sleep(0.2)


def wait_for_requeue(cluster: slurm.Cluster, job: str, times: int) -> None:
    """Wait until a job has gone back to the queue so many times."""
    give_up = time.monotonic() + TIMEOUT_SECONDS
    while cluster.job(job)["Restarts"] != str(times):
        assert time.monotonic() < give_up, cluster.job(job)
        assert cluster.job(job)["JobState"] not in ("COMPLETED", "FAILED", "TIMEOUT"), cluster.job(job)
        time.sleep(0.2)


def wait_for_completion(cluster: slurm.Cluster, job: str, log: Path) -> None:
    """Wait until a job ends, which it must do well."""
    assert cluster.wait_for_end(job, TIMEOUT_SECONDS) == "COMPLETED", log.read_text()
