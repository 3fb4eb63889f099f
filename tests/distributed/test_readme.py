"""The example of README and of the guide, one file, is all that a new method takes."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from project import PROJECT
from ranks import pool
from recipes import tiny
from runs import events, train

from apollo_ds import methods
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import UserError

PAGES = ("README.md", "docs/guides/add-a-method.md")


def methods_of(page: str) -> list[str]:
    """The files of methods that a page shows."""
    found = re.findall(r"^```python\n(.*?)^```$", (PROJECT / page).read_text(), re.DOTALL | re.MULTILINE)
    return [code for code in found if "name: Literal[" in code]


@contextmanager
def added(folder: Path) -> Iterator[None]:
    """The methods in a folder beside the package's own."""
    known = dict(methods.METHODS)
    methods.__path__.append(str(folder))
    methods.METHODS.update(methods.find_methods())
    Recipe.model_rebuild(force=True)
    try:
        yield
    finally:
        methods.__path__.pop()
        for name in methods.METHODS.keys() - known.keys():
            del methods.METHODS[name]
            del sys.modules[f"{methods.__name__}.{name}"]
        Recipe.model_rebuild(force=True)


def train_with_a_new_file(processes: Processes, folder: Path, out: Path) -> list[int]:
    """Train `halves`; the layers at each growth."""
    with added(folder):
        recipe = tiny("gpt2", out, method="halves")
        train(processes, recipe)
        return [events(recipe, "growth")[0][end] for end in ("from", "to")]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_s_method_trains(page: str, tmp_path: Path) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "halves.py").write_text(methods_of(page)[0])
    assert pool(2).run(train_with_a_new_file, tmp_path / "methods", tmp_path / "run")[0] == [3, 6]


def test_the_guide_s_method_with_an_option_plans_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "early_length.py").write_text(methods_of("docs/guides/add-a-method.md")[1])
    with added(tmp_path):
        recipe = tiny("gpt2", tmp_path, method={"name": "early_length", "fraction": 0.25})
        assert [(stage.steps, stage.seq_len) for stage in recipe.schedule().stages] == [(5, 16), (15, 32)]
        with pytest.raises(UserError, match=r"seq_len: 31 cannot be halved"):
            _ = tiny("gpt2", tmp_path, method="early_length", seq_len=31).schedule()
        with pytest.raises(UserError, match=r"method\.fraction: must be less than 1, not 1\.5"):
            tiny("gpt2", tmp_path, method={"name": "early_length", "fraction": 1.5})
