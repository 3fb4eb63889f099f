"""The recipes and DeepSpeed files that come with the package, and where a file that the user names is looked for."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "packaged"  # setup.py has them copied there; a checkout has them at its top
_ROOT = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent
_RECIPES = _ROOT / "launch" / "recipes"

DEFAULT_RECIPE = _RECIPES / "demo.yaml"


def expanded(path: Path | str) -> Path:
    """A path with the meaning that a shell gives `~` at its beginning: none expands `out=~/runs`, or a file's text."""
    return Path(os.path.expanduser(path))


def recipe_names() -> list[str]:
    """The recipes of the package, such as `bert-base`."""
    return sorted(path.stem for path in _RECIPES.glob("*.yaml"))


def find_recipe(name: Path | str) -> Path | None:
    """The file of a recipe, which may be one of the package's: `launch/recipes/bert-base.yaml`, or `bert-base`."""
    named = expanded(name)
    candidates = (named, _ROOT / named, _RECIPES / f"{named}.yaml")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def deepspeed_names() -> list[str]:
    """The DeepSpeed files of the package, such as `ds_configs/zero1.json`."""
    return sorted(f"ds_configs/{path.name}" for path in (_ROOT / "ds_configs").glob("*.json"))


def find_deepspeed(name: str, recipe: Path | None = None) -> Path | None:
    """A DeepSpeed file by its path, from the working directory, the recipe's folder or one above it.

    What comes with the package is looked at last.
    """
    above = recipe.resolve().parents if recipe else ()
    candidates = (folder / expanded(name) for folder in (Path(), *above, _ROOT))
    return next((candidate for candidate in candidates if candidate.is_file()), None)
