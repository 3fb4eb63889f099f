"""gpu.sh trains for a part of so many minutes, or says what is wrong with the number."""

import subprocess

import pytest
from project import PROJECT


@pytest.mark.parametrize("minutes", ["", "0", "1", "01", "-3", "2.5", "2 3", "x", "9999999"])
def test_minutes_that_leave_no_time_are_refused(minutes: str) -> None:
    script = PROJECT / "benchmarks" / "evidence" / "gpu.sh"
    done = subprocess.run(["bash", script, minutes, "none.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("gpu.sh: MINUTES must be a whole number of at least 2")
    assert done.stderr.count("\n") == 1
