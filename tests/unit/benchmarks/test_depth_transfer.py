"""The pages of scales that know the depth say what was measured."""

import json
from math import log2

import pytest
from depth_transfer import RATES, RESULTS, best_rate, near_best, page
from rising import page as page_of_rising


def test_the_best_rate_is_the_lowest_point_of_a_parabola() -> None:
    losses = {rate: 6 + 0.1 * log2(rate / 0.003) ** 2 for rate in RATES}
    assert best_rate(losses) == (pytest.approx(0.003), True)
    assert len(near_best(losses)) == 5


def test_a_best_rate_at_the_edge_is_the_best_that_was_tried() -> None:
    assert best_rate({rate: 6 - rate for rate in RATES}) == (RATES[-1], False)
    assert near_best({rate: 6 - rate for rate in RATES}) == list(RATES[-3:])


@pytest.mark.parametrize(("name", "made"), [("depth_transfer", page), ("rising", page_of_rising)])
def test_a_page_is_what_its_results_make(name: str, made: object) -> None:
    runs = json.loads((RESULTS / f"{name}.json").read_text())["runs"]
    assert callable(made) and made(runs) == (RESULTS / f"{name}.md").read_text()
