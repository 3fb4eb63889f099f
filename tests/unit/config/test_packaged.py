"""Recipes and DeepSpeed files are found from any folder: the user's own first, then those of the package."""

import json
from pathlib import Path

import pytest
from project import PROJECT

from apollo_ds.config.load import load_recipe
from apollo_ds.config.packaged import DEFAULT_RECIPE, find_deepspeed, find_recipe
from apollo_ds.config.words import split_recipe
from apollo_ds.errors import UserError

NAME = "ds_configs/zero1.json"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory outside of the project."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(path: Path, text: str = "{}") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["bert-base", "launch/recipes/bert-base.yaml"])
def test_a_recipe_of_the_package_is_found_from_anywhere(name: str, elsewhere: Path) -> None:
    assert find_recipe(name) == PROJECT / "launch" / "recipes" / "bert-base.yaml"
    assert load_recipe(name).steps == 250_000


@pytest.mark.parametrize("name", ["bert-base", "launch/recipes/bert-base.yaml"])
def test_a_recipe_of_the_user_comes_first(name: str, elsewhere: Path) -> None:
    write(elsewhere / name)
    assert find_recipe(name) == Path(name)


def test_the_default_recipe_is_the_package_s_wherever_the_user_is(elsewhere: Path) -> None:
    write(elsewhere / "launch" / "recipes" / "demo.yaml")
    assert split_recipe(["steps=3"]) == (DEFAULT_RECIPE, ["steps=3"])
    assert load_recipe(DEFAULT_RECIPE).out == Path("runs/demo")


def test_a_name_that_is_none_is_answered_with_those_that_are(elsewhere: Path) -> None:
    with pytest.raises(UserError, match=r"^bert-bsae: there is no such recipe; did you mean bert-base"):
        load_recipe("bert-bsae")


def test_a_deepspeed_file_is_the_nearest_one(elsewhere: Path, tmp_path: Path) -> None:
    recipe = write(tmp_path / "project" / "launch" / "recipes" / "mine.yaml")
    assert find_deepspeed(NAME, recipe) == PROJECT / NAME
    above = write(tmp_path / "project" / NAME)
    assert find_deepspeed(NAME, recipe) == above
    write(elsewhere / NAME)
    assert find_deepspeed(NAME, recipe) == Path(NAME)
    assert find_deepspeed("ds_configs/zero9.json", recipe) is None


def test_an_override_names_a_deepspeed_file_of_the_package(elsewhere: Path) -> None:
    recipe = load_recipe("demo", ["deepspeed=ds_configs/zero2.json"])
    assert recipe.deepspeed == json.loads((PROJECT / "ds_configs" / "zero2.json").read_text())
