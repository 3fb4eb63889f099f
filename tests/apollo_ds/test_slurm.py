"""launch/pretrain.sbatch on a real SLURM: stopped, queued again, and gone on with as if nothing had happened."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm
import yaml
from launching import PROJECT, TIMEOUT_SECONDS
from recipes import tiny, write
from runs import events, trained

from apollo_ds.__main__ import main
from apollo_ds.config.recipe import Recipe
from apollo_ds.experiments.events import read_metrics

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(slurm.missing()), reason=f"SLURM IS NOT TESTED: {', '.join(slurm.missing())} missing"),
]

STEPS = 3000  # SLURM looks at time limits every 30 s: the run has to be longer than that


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Cluster]:
    with slurm.cluster() as running:
        yield running


def submit(cluster: slurm.Cluster, log: Path, *words: str) -> str:
    """Submit with two nodes of one CPU rank each, and these words after sbatch's own options; returns the job's id."""
    nodes = ["--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", "--gpus-per-node=0", "--time=60"]
    return cluster.command("sbatch", "--parsable", *nodes, f"--output={log}", *words, cwd=PROJECT)


def wait_for_steps(cluster: slurm.Cluster, job: str, recipe: Recipe, log: Path, steps: int) -> None:
    metrics = recipe.out / "metrics.jsonl"
    give_up = time.monotonic() + TIMEOUT_SECONDS
    while not (metrics.is_file() and any(e["event"] == "step" and e["step"] > steps for e in read_metrics(metrics))):
        assert time.monotonic() < give_up
        assert cluster.job(job)["JobState"] in slurm.GOING_ON, log.read_text()
        time.sleep(0.2)


def last_saved(recipe: Recipe) -> int:
    return int((recipe.out / "checkpoints" / "latest").read_text().removeprefix("step-"))


def wait_for_requeue(cluster: slurm.Cluster, job: str, times: int) -> None:
    give_up = time.monotonic() + TIMEOUT_SECONDS
    while cluster.job(job)["Restarts"] != str(times):
        assert time.monotonic() < give_up, cluster.job(job)
        assert cluster.job(job)["JobState"] not in ("COMPLETED", "FAILED", "TIMEOUT"), cluster.job(job)
        time.sleep(0.2)


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
    path = write(cut, tmp_path / "cut.yaml")
    job = submit(cluster, log, "--signal=USR1@120", "launch/pretrain.sbatch", path, f"save_every={STEPS - 500}")
    wait_for_steps(cluster, job, cut, log, 100)
    cluster.command("scancel", "--signal=USR1", job)
    wait_for_requeue(cluster, job, 1)
    first = last_saved(cut)
    wait_for_steps(cluster, job, cut, log, first)
    hours, minutes, _ = map(int, cluster.job(job)["RunTime"].split(":"))
    cluster.command("scontrol", "update", f"JobId={job}", f"TimeLimit={60 * hours + minutes + 2}")  # 60 to 120 s left
    wait_for_requeue(cluster, job, 2)
    second = last_saved(cut)
    assert first < second < STEPS, log.read_text()
    cluster.command("scontrol", "update", f"JobId={job}", "TimeLimit=60")
    assert cluster.wait_for_end(job, TIMEOUT_SECONDS) == "COMPLETED", log.read_text()
    said = log.read_text()
    assert f"(2 of 2 ranks): stopped after step {second:,}, saved" in " ".join(said.split())
    assert [event["ranks"] for event in events(cut, "resume")] == [2, 2]

    log = tmp_path / "whole.log"
    job = submit(cluster, log, "launch/pretrain.sbatch", write(whole, tmp_path / "whole.yaml"))
    assert cluster.wait_for_end(job, TIMEOUT_SECONDS) == "COMPLETED", log.read_text()
    assert trained(cut) == trained(whole)
    for rank in range(2):
        weights = [
            recipe.out / "checkpoints" / f"step-{STEPS}" / f"rank-0000{rank}.safetensors" for recipe in (whole, cut)
        ]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def test_an_array_trains_one_line_of_the_list_each(cluster: slurm.Cluster, tmp_path: Path) -> None:
    recipe = tiny("gpt2", tmp_path / "unused", steps=20)
    methods = ["scratch", "stackbert", "apollo"]
    several = tmp_path / "methods.txt"
    several.write_text("".join(f"method={name} out={tmp_path / name}\n" for name in methods))
    path = write(recipe, tmp_path / "recipe.yaml")
    log = tmp_path / "array-%a.log"
    job = submit(cluster, log, "--array=2-3", "launch/pretrain.sbatch", path, f"@{several}", "seed=7")
    for number, name in ((2, "stackbert"), (3, "apollo")):
        printed = tmp_path / f"array-{number}.log"
        assert cluster.wait_for_end(f"{job}_{number}", TIMEOUT_SECONDS) == "COMPLETED", printed.read_text()
        assert read_metrics(tmp_path / name / "metrics.jsonl")[-1]["event"] == "end"
        assert f"{name}  gpt2 6x32" in printed.read_text()
        assert "seed 7" in printed.read_text()


def test_an_array_trains_what_a_sweep_lists(
    cluster: slurm.Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = tmp_path / "grid.yaml"
    recipe = write(tiny("gpt2", tmp_path / "unused"), tmp_path / "recipe.yaml")
    columns = {"method": ["scratch", {"name": "apollo", "layers": [3, 6], "grow_at": [0.5]}], "seed": [1, 2]}
    grid.write_text(yaml.safe_dump({"recipe": recipe, "grid": columns, "out": str(tmp_path / "sweep")}))

    def listed() -> str:
        main(["sweep", str(grid), "--list"])
        return capsys.readouterr().out

    todo = tmp_path / "todo.txt"
    todo.write_text(listed())
    job = submit(cluster, tmp_path / "array-%a.log", "--array=2-3", "launch/pretrain.sbatch", f"@{todo}")
    for number in (2, 3):
        printed = tmp_path / f"array-{number}.log"
        assert cluster.wait_for_end(f"{job}_{number}", TIMEOUT_SECONDS) == "COMPLETED", printed.read_text()
    lines = todo.read_text().splitlines(keepends=True)
    assert listed() == lines[0] + lines[3]


def test_the_script_is_bash() -> None:
    subprocess.run(["bash", "-n", PROJECT / "launch" / "pretrain.sbatch"], check=True)
