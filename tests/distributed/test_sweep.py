"""Sweeps: what becomes of their runs when they end, fail or are stopped."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
from grids import GRID, NAMES, write_grid
from histories import write_run

from apollo_ds.__main__ import main
from apollo_ds.config.load import load_recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.config.words import split_recipe
from apollo_ds.errors import UserError
from apollo_ds.experiments.sweep.cell import Cell
from apollo_ds.experiments.sweep.grid import Grid
from apollo_ds.experiments.sweep.runner import Sweep


def test_the_list_is_what_a_task_of_an_array_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_grid(tmp_path, {**GRID, "learning_rate": [1.0e-5]})
    main(["sweep", str(path), "--list"])
    lines = capsys.readouterr().out
    assert lines.count("\n") == 4
    (tmp_path / "runs.txt").write_text(lines)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    recipe, words = split_recipe([f"@{tmp_path}/runs.txt"])
    cell = Grid.read(path).cells[2]
    assert tuple(words) == cell.words
    assert load_recipe(recipe, words).out == cell.folder


# A launcher that notes what it was given and ends as a file named after the run's folder says; without one, it leaves
# the run complete.
LAUNCHER = """
out=${@: -1}; out=${out#out=}; name=${out##*/}; here=%s
echo "$name" >> "$here/started"
if [ -f "$here/$name.sh" ]; then . "$here/$name.sh"; fi
mkdir -p "$(dirname "$out")"
cp -rT "$here/complete/$name" "$out"
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Four runs, and a launcher that knows what each would leave."""
    grid = Grid.read(write_grid(tmp_path))
    for cell in grid.cells:
        will_leave(tmp_path, grid.recipe, cell, 2.0)
    launcher = tmp_path / "launcher.sh"
    launcher.write_text(LAUNCHER % tmp_path)
    return Sweep(grid, ("bash", str(launcher)))


def will_leave(folder: Path, recipe: Path, cell: Cell, end: float) -> None:
    made = RunFolder(folder / "complete" / cell.name)
    made.create(load_recipe(recipe, cell.words))
    recorded = write_run(folder / "recorded" / cell.name, [(40, 3.0), (100, end)])
    shutil.copy(recorded / "metrics.jsonl", made.path)
    made.report.mkdir()
    (made.report / "report.md").write_text("done")


def started(folder: Path) -> list[str]:
    return (folder / "started").read_text().splitlines() if (folder / "started").exists() else []


def test_runs_follow_one_another_and_are_compared(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.run() == 0
    assert started(tmp_path) == list(NAMES)
    printed = capsys.readouterr().out
    assert "To the final held-out loss of scratch, 2.0000 nats per token, the mean of 2 seeds:" in printed
    assert "deep_jump+decreasing_drop" in printed


def test_what_is_complete_is_not_run_again_and_what_is_not_is(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.run() == 0
    (sweep.grid.cells[1].folder / "report" / "report.md").unlink()
    metrics = sweep.grid.cells[2].folder / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('{"event": "end"', '{"event": "checkpoint"'))
    (tmp_path / "started").unlink()
    capsys.readouterr()
    main(["sweep", str(tmp_path / "grid.yaml"), "--list"])
    assert capsys.readouterr().out.splitlines() == sweep.grid.lines(sweep.grid.cells[1:3])
    assert sweep.run() == 0
    assert started(tmp_path) == list(NAMES[1:3])
    capsys.readouterr()
    main(["sweep", str(tmp_path / "grid.yaml"), "--list"])
    assert capsys.readouterr().out == ""


def test_a_failing_run_does_not_end_the_sweep_but_is_named(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"{NAMES[0]}.sh").write_text("exit 3")
    (tmp_path / f"{NAMES[2]}.sh").write_text("kill -9 $$")
    assert sweep.run() == 1
    assert started(tmp_path) == list(NAMES)
    told = capsys.readouterr().out.splitlines()[-2:]
    assert told == [f"failed: {NAMES[0]}, with exit code 3", f"failed: {NAMES[2]}, with exit code -9"]


def test_a_run_that_was_stopped_stops_the_sweep(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"{NAMES[1]}.sh").write_text("exit 75")
    assert sweep.run() == 75
    assert started(tmp_path) == list(NAMES[:2])
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"2/4  {NAMES[1]}: stopped",
        "stopped; run the same command to resume",
    ]


SAVING = """
trap 'echo "$name" >> "$here/saved"; exit 75' TERM; echo "$name" >> "$here/ready"; while :; do sleep 0.05; done
"""


def run_and_send(sweep: Sweep, number: signal.Signals, ready: Path, runs: int) -> int:
    """The exit code of a sweep to which a signal is sent once so many runs are ready for it."""

    def send() -> None:
        while not ready.exists() or len(ready.read_text().splitlines()) < runs:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    inherited = signal.signal(number, signal.SIG_DFL)  # what starts the tests may ignore it, which a sweep respects
    thread = threading.Thread(target=send)
    thread.start()
    try:
        code = sweep.run()
        assert signal.getsignal(number) == signal.SIG_DFL
        return code
    finally:
        thread.join()
        signal.signal(number, inherited)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_run_once_and_starts_no_other(
    number: signal.Signals, sweep: Sweep, tmp_path: Path
) -> None:
    (tmp_path / f"{NAMES[0]}.sh").write_text(SAVING)
    assert run_and_send(sweep, number, tmp_path / "ready", 1) == 75
    assert (tmp_path / "saved").read_text().splitlines() == [NAMES[0]]
    assert started(tmp_path) == [NAMES[0]]


def test_a_signal_reaches_each_of_several_jobs_once_and_starts_no_other(sweep: Sweep, tmp_path: Path) -> None:
    for name in NAMES[:2]:
        (tmp_path / f"{name}.sh").write_text(SAVING)
    assert run_and_send(Sweep(sweep.grid, sweep.command, jobs=2), signal.SIGINT, tmp_path / "ready", 2) == 75
    assert sorted((tmp_path / "saved").read_text().splitlines()) == list(NAMES[:2])
    assert sorted(started(tmp_path)) == list(NAMES[:2])


def test_several_jobs_train_at_once_on_a_rank_each_past_one_that_fails(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the first two waits for the other; the second then fails, and the others go on in what it leaves free."""
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    for name, other, end in ((*NAMES[:2], ""), (*NAMES[1::-1], "exit 3")):
        waits = f"echo of {name} with $1 $2; touch $here/{name}.up; until [ -f $here/{other}.up ]; do sleep 0.05; done"
        (tmp_path / f"{name}.sh").write_text(f"{waits}\n{end}")
    assert Sweep(sweep.grid, sweep.command, jobs=2).run() == 1
    assert sorted(started(tmp_path)) == sorted(NAMES)
    printed = capsys.readouterr().out.splitlines()
    failed = f"with exit code 3; see {sweep.grid.cells[1].folder}/log"
    assert f"2/4  {NAMES[1]}: failed {failed}" in printed
    assert printed[-1] == f"failed: {NAMES[1]}, {failed}"
    for number in (1, 3, 4):
        assert f"{number}/4  {NAMES[number - 1]}: done" in printed
    assert (sweep.grid.cells[0].folder / "log").read_text() == f"of {NAMES[0]} with --ranks 1\n"


def test_jobs_have_their_own_gpus(sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia-smi").write_text(
        "#!/bin/sh\n" + "".join(f"echo 'GPU {gpu}: a GPU (UUID: GPU-{gpu})'\n" for gpu in range(5))
    )
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, other in zip(NAMES, (NAMES[1], NAMES[0], NAMES[3], NAMES[2]), strict=True):
        waits = f"touch $here/{name}.up; until [ -f $here/{other}.up ]; do sleep 0.05; done"
        (tmp_path / f"{name}.sh").write_text(f'echo "$CUDA_VISIBLE_DEVICES" >> "$here/gpus"; {waits}')
    assert Sweep(sweep.grid, sweep.command, jobs=2).run() == 0
    assert sorted((tmp_path / "gpus").read_text().splitlines()) == ["0,1", "0,1", "2,3", "2,3"]
    with pytest.raises(UserError, match=r"^--jobs 6: each run needs a GPU, and this machine has 5; use --jobs 5$"):
        Sweep(sweep.grid, sweep.command, jobs=6).run()


@pytest.mark.parametrize("jobs", [1, 2])
def test_further_seeds_are_trained_behind_the_grid(
    jobs: int, sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = Grid.read(write_grid(tmp_path, {"learning_rate": [0.001, 0.002], "seed": [1]}, further_seeds=[2, 3]))
    (part,) = grid.parts
    for rate, end in ((0.001, 2.5), (0.002, 2.0)):
        for seed in (1, 2, 3):
            will_leave(tmp_path, grid.recipe, part.cell({"learning_rate": rate, "seed": seed}), end)
    with pytest.raises(
        UserError, match="the grid has the runs 1 to 2; its further seeds follow when these are complete"
    ):
        Sweep(grid, sweep.command).run(3)
    assert Sweep(grid, sweep.command, jobs).run() == 0
    own = [cell.name for cell in grid.cells]
    further = [f"learning_rate=0.002,seed={seed}" for seed in (2, 3)]
    assert (sorted(started(tmp_path)[:2]), sorted(started(tmp_path)[2:])) == (own, further)
    assert f"4/4  {further[1]}: done" in capsys.readouterr().out
    assert Sweep(grid, sweep.command).run(4) == 0
    assert capsys.readouterr().out == f"4/4  {further[1]}: complete\n"


def test_one_run_alone_can_be_chosen(sweep: Sweep, tmp_path: Path) -> None:
    assert sweep.run(3) == 0
    assert started(tmp_path) == [NAMES[2]]
    for number in (0, 5):
        with pytest.raises(UserError, match=rf"^--number {number}: the grid has the runs 1 to 4$"):
            sweep.run(number)


@pytest.fixture
def branching(tmp_path: Path) -> Sweep:
    """A run of 40 steps, another of 30, and a branch off the first, with the same launcher."""
    kept = {"lr_schedule": "wsd", "save_every": 4, "keep_every": 8, "steps": 40}
    branch = {"set": {"branch_from": f"{tmp_path}/sweep/seed=1@8", "steps": 20}, "grid": {"seed": [3]}}
    grid = Grid.read(write_grid(tmp_path, {"seed": [1, 2]}, branch, set=kept))
    for cell in grid.cells[:2]:
        will_leave(tmp_path, grid.recipe, cell, 2.0)
    launcher = tmp_path / "launcher.sh"
    launcher.write_text(LAUNCHER % tmp_path)
    return Sweep(grid, ("bash", str(launcher)), jobs=2)


def test_a_branch_waits_for_the_end_of_its_run(branching: Sweep, tmp_path: Path) -> None:
    """The first run goes on after the second has left a job free."""
    (tmp_path / "complete" / "seed=1" / "checkpoints" / "step-8").mkdir()
    (tmp_path / "complete" / "seed=3").mkdir()
    (tmp_path / "seed=1.sh").write_text(
        "until [ -d $here/sweep/seed=2 ]; do sleep 0.05; done; sleep 0.5; touch $here/1"
    )
    (tmp_path / "seed=3.sh").write_text("[ -f $here/1 ] && [ -d $here/sweep/seed=1/checkpoints/step-8 ] || exit 3")
    assert branching.run() == 0
    assert started(tmp_path)[-1] == "seed=3"


def test_a_branch_off_a_run_that_failed_is_not_started(
    branching: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "seed=1.sh").write_text("exit 3")
    assert branching.run() == 1
    assert sorted(started(tmp_path)) == ["seed=1", "seed=2"]
    assert capsys.readouterr().out.splitlines()[-1] == "failed: seed=3, because step 8 of seed=1 is not there"
