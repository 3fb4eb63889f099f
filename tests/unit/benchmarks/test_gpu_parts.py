"""gpu.sh trains for a part of so many minutes, or says what is wrong with the number."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from project import PROJECT


@pytest.mark.parametrize("minutes", ["", "0", "1", "01", "-3", "2.5", "2 3", "x", "9999999"])
def test_minutes_that_leave_no_time_are_refused(minutes: str) -> None:
    script = PROJECT / "benchmarks" / "evidence" / "gpu.sh"
    done = subprocess.run(["bash", script, minutes, "none.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("gpu.sh: MINUTES must be a whole number of at least 2")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("codes", "expected"), [((0, 0), 0), ((1, 0), 1), ((0, 124), 0), ((75, 0), 75), ((2, 0), 2)])
def test_a_run_that_failed_is_told_at_the_end_and_the_grids_after_it_are_trained(
    codes: tuple[int, int], expected: int, tmp_path: Path
) -> None:
    script = tmp_path / "benchmarks" / "evidence" / "gpu.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(PROJECT / "benchmarks" / "evidence" / "gpu.sh", script)
    commands = {"apollo-ds": 'echo "$2" >> called; exit "$2"', "python": 'echo "$*" >> called'}
    for name, does in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    shell = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", script, "5", *map(str, codes)], env=shell, capture_output=True, check=False)
    assert done.returncode == expected
    trained = [line for line in (tmp_path / "called").read_text().splitlines() if line.isdigit()]
    assert trained == [str(code) for code in (codes if expected <= 1 else codes[:1])]
