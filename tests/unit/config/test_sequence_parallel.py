"""Whether ranks can share samples, and which samples are whose."""

from typing import Any

import pytest
from recipes import tiny

from apollo_ds.config.ready import check_ready
from apollo_ds.errors import UserError


@pytest.mark.parametrize(
    ("changes", "ranks", "sentence"),
    [
        (
            {"sequence_parallel": 4},
            4,
            r"sequence_parallel: 4 ranks cannot share the 2 heads of stage 1 equally; .*: 1, 2$",
        ),
        (
            {"sequence_parallel": 2, "seq_len": 31},
            2,
            r"sequence_parallel: 2 ranks cannot share the 31 tokens of stage 1",
        ),
        (
            {"sequence_parallel": 2},
            3,
            r"sequence_parallel: 2 does not divide the number of ranks, 3; use a number that",
        ),
        (
            {"sequence_parallel": 2, "global_batch_size": 9},
            4,
            r"global_batch_size: 2 groups of 2 ranks do not divide 9",
        ),
    ],
)
def test_samples_that_ranks_cannot_share_are_refused(changes: dict[str, Any], ranks: int, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        tiny("gpt2", "unused", **changes).micro_batch(ranks)


def test_ranks_that_share_samples_have_those_of_their_group() -> None:
    recipe = tiny("gpt2", "unused", sequence_parallel=2, micro_batch_size=2)
    assert (recipe.sample_groups(4), recipe.micro_batch(4), recipe.engine_options(4).accumulation_steps) == (2, 2, 2)


def test_groups_that_copy_weights_are_equal() -> None:
    copied = tiny("gpt2", "unused", deepspeed={"zero_optimization": {"stage": 3, "zero_hpz_partition_size": 2}})
    with pytest.raises(UserError, match=r"zero_hpz_partition_size: 2 does not divide the number of ranks, 3; use"):
        check_ready(copied.model_copy(update={"global_batch_size": 9}), 3)
