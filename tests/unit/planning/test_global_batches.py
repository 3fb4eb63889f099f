"""Global batches are the same for any ranks and accumulation, while layers and lengths grow."""

from pathlib import Path

import pytest
from lengthening import STAGES, STEPS_A_STAGE, joined, read_by, recipe_of


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_one_two_and_four_ranks_and_accumulation(family: str, tmp_path: Path) -> None:
    whole = read_by(recipe_of(family, tmp_path, micro_batch_size=8), rank=0, ranks=1)
    assert [len(step) for step in whole] == [8] * STEPS_A_STAGE * len(STAGES)
    assert len({sample for step in whole for sample in step}) == 8 * len(whole)
    for ranks, micro_batch_size in ((1, 2), (1, 1), (2, 4), (2, 1), (4, 2), (4, 1)):
        recipe = recipe_of(family, tmp_path, micro_batch_size)
        assert joined([read_by(recipe, rank, ranks) for rank in range(ranks)]) == whole
