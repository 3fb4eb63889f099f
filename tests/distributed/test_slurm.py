"""launch/pretrain.sbatch on a real SLURM: stopped, queued again, gone on with; and an array. Both run at once."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import slurm
from launching import TIMEOUT_SECONDS, last_saved
from ranks import pool
from recipes import tiny, write
from runs import events, train, trained
from slurm_jobs import needs_slurm, submit, wait_for_completion, wait_for_requeue, wait_for_steps

from apollo_ds.config.recipe import Recipe
from apollo_ds.experiments.events import read_metrics

pytestmark = needs_slurm
STEPS = 150
METHODS = ("scratch", "stackbert", "apollo")


@dataclass(frozen=True)
class Jobs:
    """What has been submitted, and where it writes."""

    cluster: slurm.Cluster
    folder: Path
    cut: Recipe
    """What `requeued` trains."""
    requeued: str
    from_list: str

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    """A job that is signalled and has gone back to the queue, and a task of an array."""
    folder = tmp_path_factory.mktemp("slurm")
    cut = tiny("gpt2", folder / "cut", steps=STEPS, save_every=STEPS, eval_every=100, log_every=10)
    short = write(tiny("gpt2", folder / "unused"), folder / "short.yaml")
    with slurm.cluster() as cluster:
        requeued = submit(cluster, folder / "cut.log", write(cut, folder / "cut.yaml"))

        lines = folder / "lines.txt"
        lines.write_text("".join(f"method={name} out={folder / name}\n" for name in METHODS))
        words = (short, f"@{lines}", "seed=7")
        shell = "--export=ALL,SRUN_OPTIONS=--label --verbose"
        from_list = submit(cluster, folder / "list-%a.log", *words, options=("--nodes=1", "--array=2,9", shell))

        wait_for_steps(cluster, requeued, cut, folder / "cut.log", 20)
        cluster.command("scancel", "--signal=USR1", requeued)
        wait_for_requeue(cluster, requeued, 1)
        yield Jobs(cluster, folder, cut, requeued, from_list)


def test_a_job_that_is_signalled_goes_on_as_if_nothing_had_happened(jobs: Jobs, tmp_path: Path) -> None:
    wait_for_completion(jobs.cluster, jobs.requeued, jobs.log("cut"))
    stopped_at = next(event["step"] for event in events(jobs.cut, "resume"))
    assert 20 < stopped_at < STEPS
    told = " ".join(jobs.log("cut").read_text().split())
    # The signal may come to one node some steps before it comes to the other.
    assert re.search(rf"\([12] of 2 ranks\): stopped after step {stopped_at:,}, saved", told)
    assert [(event["step"], event["ranks"]) for event in events(jobs.cut, "resume")] == [(stopped_at, 2)]
    assert last_saved(jobs.cut.out) == STEPS

    whole = jobs.cut.model_copy(update={"out": tmp_path / "whole"})
    assert pool(2).run(train, whole) == [None, None]
    assert trained(jobs.cut) == trained(whole)
    for rank in range(2):
        name = f"checkpoints/step-{STEPS}/rank-{rank:05d}.safetensors"
        assert (jobs.cut.out / name).read_bytes() == (whole.out / name).read_bytes()


def test_an_array_trains_one_line_of_the_list_each(jobs: Jobs) -> None:
    wait_for_completion(jobs.cluster, f"{jobs.from_list}_2", jobs.log("list-2"))
    assert read_metrics(jobs.folder / "stackbert" / "metrics.jsonl")[-1]["event"] == "end"
    assert not (jobs.folder / "apollo").exists()
    assert "stackbert  gpt2 6x32" in jobs.log("list-2").read_text()
    assert "seed 7" in jobs.log("list-2").read_text()


def test_a_task_beyond_the_list_says_so_once(jobs: Jobs) -> None:
    assert jobs.cluster.wait_for_end(f"{jobs.from_list}_9", TIMEOUT_SECONDS) == "FAILED"
    assert jobs.cluster.job(f"{jobs.from_list}_9")["ExitCode"] == "2:0"
    assert jobs.log("list-9").read_text().count("has no line 9 for this task of the array; it has 3") == 1


def test_srun_gets_the_options_of_the_job_and_of_the_user(jobs: Jobs) -> None:
    wait_for_completion(jobs.cluster, f"{jobs.from_list}_2", jobs.log("list-2"))
    told = jobs.log("list-2").read_text()
    assert re.search(r"srun: cpus-per-task\s*: 1$", told, re.MULTILINE)  # by --verbose
    assert re.search(r"^0: .* \[rank 0\] finished$", told, re.MULTILINE)  # by --label
