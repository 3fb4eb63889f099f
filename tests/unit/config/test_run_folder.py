"""The command line: what `plan` prints, and that a mistake is one line and exit code 2, before anything starts."""

import threading
from pathlib import Path

import pytest
from recipes import tiny, write

from apollo_ds.config.load import load_recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import UserError


def test_a_run_folder_belongs_to_one_job(tmp_path: Path) -> None:
    first, second = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    first.claim()
    with pytest.raises(UserError, match=r"run is in use by another job \(process \d+ on .*\); stop it, or use another"):
        second.claim(patience=0)
    waiting = threading.Thread(target=second.claim)
    waiting.start()
    del first
    waiting.join(30)
    assert not waiting.is_alive()


@pytest.fixture
def recipe_file(tmp_path: Path) -> str:
    """A recipe that would train, with a corpus that is there."""
    return write(tiny("bert", tmp_path / "run"), tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    "override",
    ["micro_batch_size=1", "eval_every=3", "save_every=3", "keep_checkpoints=1", "deepspeed.zero_optimization.stage=3"],
)
def test_what_does_not_change_the_training_may_differ(override: str, recipe_file: str) -> None:
    recipe = load_recipe(Path(recipe_file))
    RunFolder(recipe.out).create(recipe)
    RunFolder(recipe.out).check(load_recipe(Path(recipe_file), [override]))


@pytest.mark.parametrize("content", ["", "recipe: [1\n", "versions: {}\n"])
def test_a_damaged_run_folder_is_named(content: str, recipe_file: str) -> None:
    recipe = load_recipe(Path(recipe_file))
    RunFolder(recipe.out).create(recipe)
    (recipe.out / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=r"config\.yaml: missing, damaged"):
        RunFolder(recipe.out).check(recipe)


def test_a_run_folder_that_cannot_be_made_is_named(recipe_file: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recipe = load_recipe(Path(recipe_file), [f"out={tmp_path / 'file' / 'run'}"])
    with pytest.raises(UserError, match=r"^out: cannot write to .*file/run: "):
        RunFolder(recipe.out).create(recipe)
