"""A fault at each file operation of a run, an export and the preparation of text; flipped bits; nonsense."""

import subprocess
import sys

import pytest
from project import PROJECT


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "script",
    ["crash_points.py", "flips.py", "nonsense.py", "text_mutations.py", "tokenizer_mutations.py"],
)
def test_no_fault_is_silent_or_loses_anything(script: str) -> None:
    words = [sys.executable, PROJECT / "tests" / "support" / script]
    done = subprocess.run(words, check=False, cwd=PROJECT, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
