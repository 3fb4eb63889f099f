"""The method that the README writes as an example is all that a new method takes."""

import re
from pathlib import Path

from project import PROJECT
from ranks import pool
from recipes import tiny
from runs import events, train

from apollo_ds import methods
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes

README = PROJECT / "README.md"


def train_with_a_new_file(processes: Processes, folder: Path, out: Path) -> list[int]:
    """Train the method in a folder beside the package's own; the layers at each growth."""
    methods.__path__.append(str(folder))
    methods.METHODS.update(methods.find_methods())
    Recipe.model_rebuild(force=True)
    try:
        recipe = tiny("gpt2", out, method="halves")
        train(processes, recipe)
        return [events(recipe, "growth")[0][end] for end in ("from", "to")]
    finally:
        methods.__path__.pop()
        del methods.METHODS["halves"]
        Recipe.model_rebuild(force=True)


def test_the_readme_s_method_trains(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "halves.py").write_text(example)
    assert pool(2).run(train_with_a_new_file, tmp_path / "methods", tmp_path / "run")[0] == [3, 6]
