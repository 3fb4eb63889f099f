"""A few of the faults that the acceptance tests try at each file operation."""

import subprocess
import sys

from project import PROJECT


def test_faults_at_some_file_operations_lose_nothing() -> None:
    words = [sys.executable, PROJECT / "tests" / "support" / "crash_points.py", "--sample", "2"]
    done = subprocess.run(words, check=False, cwd=PROJECT, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 points, 0 of them wrong" in done.stdout
