"""What pages show is run, in short: their commands in a small world with the names that they use, and their Python.

`<!-- not run: why -->` before a block leaves it out. Pages of methods are planned here, and trained by the tests of
acceptance; test_every_method.py trains each method.
"""

import pytest
from page_runs import ELSEWHERE, RUN, run_page
from page_world import world
from pages import PAGES

__all__ = ["world"]


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("page", RUN)
def test_what_a_page_shows_runs(page: str) -> None:
    run_page(page, trains=not page.startswith("docs/methods/"))


def test_pages_with_tests_of_their_own_are_there() -> None:
    assert set(ELSEWHERE) <= set(PAGES)
