"""The page of large models says what the code computes."""

import pytest
import scale
from project import PROJECT

from apollo_ds.models.flops import parameters


def test_the_page_is_what_the_command_prints() -> None:
    page = PROJECT / "docs" / "results" / "scale.md"
    assert page.read_text() == scale.page(), "python benchmarks/scale.py > docs/results/scale.md"


@pytest.mark.parametrize("size", scale.SIZES, ids=lambda size: size.title)
def test_a_size_has_the_parameters_of_its_title(size: scale.Size) -> None:
    named = float(size.title.split()[0])
    assert parameters(scale.recipe_of(size).model, size.layers) / 1e9 == pytest.approx(named, rel=0.05)


def test_the_largest_needs_zero_3_and_more_than_a_node() -> None:
    largest = scale.SIZES[-1]
    assert [scale.fits(largest, ranks) for ranks in scale.RANKS] == [[], [3], [3]]
