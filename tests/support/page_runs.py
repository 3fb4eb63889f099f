"""Runs what a page shows, block by block: what one command writes, the next one reads."""

import pytest
from page_world import run, train_in_short
from pages import PAGES, Block, blocks

import apollo_ds

PROGRAMS = ("apollo-ds", "apollo-prep")
ELSEWHERE = {
    "docs/README.md": "README.md shows the same commands, and more",
    "docs/guides/your-model.md": "test_your_model.py runs it, and looks at what it says",
    "docs/guides/compare.md": "it compares the runs of a sweep, as test_sweep.py does",
    "docs/methods/upscale.md": "it needs a run with a vocabulary of 4,096; test_upscale.py grows small ones",
    "docs/reference/commands.md": "generated; the pages of each command show it at work",
}
"""Pages that have tests of their own."""
OF_RUNS = {"compare", "export", "fill", "generate"}
"""Commands that need what training makes."""


def runnable(page: str) -> list[Block]:
    """The blocks of a page that have a command of ours or Python, and may be run."""
    shown = [block for block in blocks(page) if block.language in ("console", "python") and block.not_run is None]
    return [block for block in shown if block.language == "python" or of_programs(block)]


def of_programs(block: Block) -> list[list[str]]:
    """The commands of a block that are ours."""
    return [words for words in block.commands() if words[0] in PROGRAMS]


RUN = [page for page in PAGES if page not in ELSEWHERE and runnable(page)]


def run_page(page: str, trains: bool = True) -> None:
    """Run a page in the working directory; where it is not to train, a plan checks the recipe."""
    names = {"__name__": "__main__"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apollo_ds, "train", train_in_short, raising=False)
        for block in runnable(page):
            if block.language == "python":
                exec(compile(block.text, block.place, "exec"), names)
            for words in of_programs(block):
                if trains or words[1] not in OF_RUNS:
                    _run(words if trains else ["plan" if word == "train" else word for word in words], block.place)


def _run(words: list[str], place: str) -> None:
    try:
        run(words)
    except SystemExit as end:
        assert not end.code, f"{place}: {' '.join(words)}: exit code {end.code}"
    except Exception as error:
        raise AssertionError(f"{place}: {' '.join(words)}: {error}") from error
