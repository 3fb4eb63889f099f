"""What keeps a stage from being made from the one before it is told before anything is trained."""

from dataclasses import replace

import pytest
from planned import shape, stages

from apollo_ds.errors import UserError
from apollo_ds.schedule.growable import check_growths


def test_identities_are_refused_where_they_would_silence_the_model() -> None:
    with pytest.raises(UserError, match=r"method\.new_layers: an identity's normalisations are zero"):
        check_growths(stages("apollo", "bert", new_layers="identity"))


def test_block_diagonal_growth_is_by_one_factor() -> None:
    small, *others = stages("net2net", "gpt2", width="block_diagonal")
    check_growths([small, *others])
    narrow = shape("gpt2", hidden_size=16, num_heads=1, intermediate_size=16)
    with pytest.raises(UserError, match="block-diagonal growth needs hidden_size and intermediate_size to grow by one"):
        check_growths([replace(small, shape=narrow), *others])


@pytest.mark.parametrize("method", ["apollo", "compound_grow", "staged", "net2net", "bert2bert", "ligo"])
def test_what_grows_by_default_can_grow(method: str) -> None:
    check_growths(stages(method, "gpt2"))
