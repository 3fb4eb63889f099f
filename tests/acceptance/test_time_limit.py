"""A SLURM job that is signalled, and later meets its time limit, goes on as if nothing had happened."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm
from launching import last_saved
from recipes import tiny, write
from runs import events, trained
from slurm_jobs import needs_slurm, submit, wait_for_completion, wait_for_requeue, wait_for_steps

pytestmark = [pytest.mark.timeout(1800), needs_slurm]
STEPS = 3000
"""SLURM looks at time limits every 30 s: the run has to be longer than that."""


@pytest.fixture
def cluster() -> Iterator[slurm.Cluster]:
    with slurm.cluster() as running:
        yield running


def test_a_job_that_is_signalled_and_meets_its_time_limit_goes_on_as_if_nothing_had_happened(
    cluster: slurm.Cluster, tmp_path: Path
) -> None:
    whole, cut = (
        tiny("gpt2", tmp_path / name / "run", steps=STEPS, save_every=100_000, eval_every=1000, log_every=20)
        for name in ("whole", "cut")
    )
    log = tmp_path / "cut.log"
    for recipe in (whole, cut):
        recipe.out.parent.mkdir()
    words = (write(cut, tmp_path / "cut.yaml"), f"save_every={STEPS - 500}")
    job = submit(cluster, log, *words, options=("--signal=USR1@120",))
    wait_for_steps(cluster, job, cut, log, 100)
    cluster.command("scancel", "--signal=USR1", job)
    wait_for_requeue(cluster, job, 1)
    first = last_saved(cut.out)
    wait_for_steps(cluster, job, cut, log, first)
    hours, minutes, _ = map(int, cluster.job(job)["RunTime"].split(":"))
    cluster.command("scontrol", "update", f"JobId={job}", f"TimeLimit={60 * hours + minutes + 2}")  # 60 to 120 s left
    wait_for_requeue(cluster, job, 2)
    second = last_saved(cut.out)
    assert first < second < STEPS, log.read_text()
    cluster.command("scontrol", "update", f"JobId={job}", "TimeLimit=60")
    wait_for_completion(cluster, job, log)
    assert f"(2 of 2 ranks): stopped after step {second:,}, saved" in " ".join(log.read_text().split())
    assert [event["ranks"] for event in events(cut, "resume")] == [2, 2]

    log = tmp_path / "whole.log"
    job = submit(cluster, log, write(whole, tmp_path / "whole.yaml"))
    wait_for_completion(cluster, job, log)
    assert trained(cut) == trained(whole)
    for rank in range(2):
        name = f"checkpoints/step-{STEPS}/rank-{rank:05d}.safetensors"
        assert (cut.out / name).read_bytes() == (whole.out / name).read_bytes()
