"""What pages show is run, in short: their commands in a small world with the names that they use, and their Python.

`<!-- not run: why -->` before a block leaves it out.
"""

import page_world
import pytest
from page_world import run, train_in_short, world
from pages import PAGES, Block, blocks

import apollo_ds

PROGRAMS = ("apollo-ds", "apollo-prep")
ELSEWHERE = {
    "docs/guides/your-model.md": "test_your_model.py runs it, and looks at what it says",
    "docs/reference/commands.md": "generated; the pages of each command show it at work",
    "docs/guides/add-a-method.md": "test_readme.py trains the method",
    "README.md": "test_readme.py trains the method",
}
"""Pages whose Python or commands have tests of their own."""
__all__ = ["world"]


def runnable(page: str) -> list[Block]:
    """The blocks of a page that this file runs."""
    shown = [block for block in blocks(page) if block.language in ("console", "python") and block.not_run is None]
    return [block for block in shown if block.language == "python" or of_programs(block)]


def of_programs(block: Block) -> list[list[str]]:
    return [words for words in block.commands() if words[0] in PROGRAMS]


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("page", [page for page in PAGES if page not in ELSEWHERE and runnable(page)])
def test_what_a_page_shows_runs(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Block by block, in the order of the page: what one command writes, the next one reads."""
    monkeypatch.setattr(apollo_ds, "train", train_in_short, raising=False)
    names = page_world.namespace()
    for block in runnable(page):
        if block.language == "python":
            exec(compile(block.text, block.place, "exec"), names)
            continue
        for words in of_programs(block):
            try:
                run(words)
            except SystemExit as end:
                assert not end.code, f"{block.place}: {' '.join(words)}: exit code {end.code}"
            except Exception as error:
                raise AssertionError(f"{block.place}: {' '.join(words)}: {error}") from error


def test_pages_without_tests_here_are_there() -> None:
    assert set(ELSEWHERE) <= set(PAGES)
