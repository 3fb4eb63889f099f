"""Sweeps whose runs are real: one after another through the launcher, and as an array of SLURM."""

import subprocess
import sys
from pathlib import Path

import pytest
import slurm
from grids import write_grid
from launching import environment
from project import PROJECT
from slurm_jobs import needs_slurm, submit, wait_for_completion

from apollo_ds.__main__ import main


def test_a_run_through_the_real_launcher(tmp_path: Path) -> None:
    small = {"steps": 4, "eval_every": 2, "save_every": 4, "method.layers": [2, 6], "method.grow_at": [0.5]}
    path = write_grid(tmp_path, {"method": ["apollo"], "seed": [1]}, set=small)
    shell = {key: value for key, value in environment().items() if key != "MASTER_PORT"}
    command = [sys.executable, "-m", "apollo_ds", "sweep", str(path)]

    def swept() -> str:
        done = subprocess.run(command, cwd=PROJECT, env=shell, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "finished" in swept()
    assert (tmp_path / "sweep" / "apollo,seed=1" / "export" / "config.json").is_file()
    assert "1/1  apollo,seed=1: complete" in swept().splitlines()


@needs_slurm
def test_an_array_trains_what_a_sweep_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = write_grid(tmp_path)

    def listed() -> list[str]:
        main(["sweep", str(grid), "--list"])
        return capsys.readouterr().out.splitlines(keepends=True)

    lines = listed()
    (tmp_path / "todo.txt").write_text("".join(lines))
    with slurm.cluster() as cluster:
        job = submit(cluster, tmp_path / "sweep-%a.log", f"@{tmp_path / 'todo.txt'}", options=("--array=3",))
        wait_for_completion(cluster, f"{job}_3", tmp_path / "sweep-3.log")
    assert listed() == lines[:2] + lines[3:]
