"""Find the recipes and DeepSpeed files that come with the package, and the files that users name."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "packaged"  # setup.py copies them there; in a checkout they are at the top
_ROOT = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent
_RECIPES = _ROOT / "launch" / "recipes"

DEFAULT_RECIPE = _RECIPES / "demo.yaml"


def expanded(path: Path | str) -> Path:
    """A path with `~` at its beginning expanded. A shell does not do this in `out=~/runs`, or in a file."""
    return Path(os.path.expanduser(path))


def recipe_names() -> list[str]:
    """The recipes of the package, such as `bert-base`."""
    return sorted(path.stem for path in _RECIPES.glob("*.yaml"))


def find_recipe(name: Path | str) -> Path | None:
    """The file of a recipe. None if there is none.

    A recipe of the package is named as `launch/recipes/bert-base.yaml`, or as `bert-base`.
    """
    named = expanded(name)
    candidates = (named, _ROOT / named, _RECIPES / f"{named}.yaml")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def deepspeed_names() -> list[str]:
    """The DeepSpeed files of the package, such as `ds_configs/zero1.json`."""
    return sorted(f"ds_configs/{path.name}" for path in (_ROOT / "ds_configs").glob("*.json"))


def find_deepspeed(name: str, recipe: Path | None = None) -> Path | None:
    """Find a DeepSpeed file by its path. None if there is none.

    The path is relative to the working directory, to the recipe's folder, or to a folder above that. The files of the
    package are looked at last.
    """
    above = recipe.resolve().parents if recipe else ()
    candidates = (folder / expanded(name) for folder in (Path(), *above, _ROOT))
    return next((candidate for candidate in candidates if candidate.is_file()), None)
