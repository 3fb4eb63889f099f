"""The recipes and DeepSpeed files that come with the package, and where a file that the user names is looked for."""

import os
from collections.abc import Sequence
from pathlib import Path

from apollo_ds.by_name import choice
from apollo_ds.config.array_list import with_lists_read
from apollo_ds.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "packaged"  # setup.py has them copied there; a checkout has them at its top
_ROOT = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent
_RECIPES = _ROOT / "launch" / "recipes"

DEFAULT_RECIPE = _RECIPES / "demo.yaml"


def expanded(path: Path | str) -> Path:
    """A path with the meaning that a shell gives `~` at its beginning: none expands `out=~/runs`, or a file's text."""
    return Path(os.path.expanduser(path))


def find_recipe(name: Path | str) -> Path:
    """The file of a recipe, which may be one of the package's: `launch/recipes/bert-base.yaml`, or `bert-base`.

    Raises:
        UserError: it is a bare word that names neither.
    """
    named = expanded(name)
    candidates = (named, _ROOT / named, _RECIPES / f"{named}.yaml")
    found = next((candidate for candidate in candidates if candidate.is_file()), named)
    if str(named) == found.stem and not found.exists():
        known = sorted(path.stem for path in _RECIPES.glob("*.yaml"))
        raise UserError(f"{name}: there is no such recipe; name a YAML file, or {choice(known, name)}")
    return found


def find_deepspeed(name: str, recipe: Path | None = None) -> Path | None:
    """A DeepSpeed file by its path, from the working directory, the recipe's folder or one above it.

    What comes with the package is looked at last.
    """
    above = recipe.resolve().parents if recipe else ()
    candidates = (folder / expanded(name) for folder in (Path(), *above, _ROOT))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def split_recipe(words: Sequence[str]) -> tuple[Path, list[str]]:
    """What a command line names: the recipe, the default one if there is none, and the overrides.

    Raises:
        UserError: more than one recipe is named, or a `@LIST` has no line for this task.
    """
    words = with_lists_read(words)
    overrides = [word for word in words if "=" in word]
    recipes = [word for word in words if "=" not in word]
    if len(recipes) > 1:
        raise UserError(f"one recipe at a time, not {' and '.join(recipes)}; overrides are written key=value")
    return Path(recipes[0]) if recipes else DEFAULT_RECIPE, overrides
