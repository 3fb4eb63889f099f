"""The commands of the pages of methods train, in short."""

import pytest
from page_runs import RUN, run_page
from page_world import world

__all__ = ["world"]


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("page", [page for page in RUN if page.startswith("docs/methods/")])
def test_a_page_of_a_method_trains(page: str) -> None:
    run_page(page)
