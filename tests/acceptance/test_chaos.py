"""A run whose ranks and launchers are killed at random: a short version of the script in support."""

from pathlib import Path

import pytest
from chaos import chaos


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_a_run_that_is_killed_at_random_ends_as_one_that_was_not(ranks: int, tmp_path: Path) -> None:
    said = chaos(tmp_path, kills=2, steps=300, seed=ranks, ranks=ranks)
    assert len(said) == 2
