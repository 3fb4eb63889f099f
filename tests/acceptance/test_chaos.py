"""A run whose ranks and launchers are killed at random: a short version of the script in support."""

from pathlib import Path

import pytest
from chaos import chaos


@pytest.mark.timeout(1200)
def test_a_run_that_is_killed_at_random_ends_as_one_that_was_not(tmp_path: Path) -> None:
    said = chaos(tmp_path, kills=3, steps=300, seed=1)
    assert len(said) == 3
