"""From a recipe's file and the words of a command line to a `Recipe`, with every mistake told in one sentence.

Nothing here imports torch, so a mistake is reported within a second.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from apollo_ds.config.complaint import complaint
from apollo_ds.config.overrides import apply_override, read_json, read_mapping
from apollo_ds.config.packaged import find_recipe
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.recorded import read_recorded
from apollo_ds.config.source_run import source_of
from apollo_ds.errors import UserError

_LARGEST = 2**53
"""Up to it JSON, which metrics and manifests are written in, is exact everywhere."""


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, apply `key=value` overrides (dotted keys reach inside), and check all of it.

    The recipe is a file, or one of the package's by its name, such as `bert-base`.

    Raises:
        UserError: the file is missing or not a mapping, or a key or value is wrong.
    """
    path = find_recipe(path)
    values = read_mapping(path, "recipe")
    if isinstance(values.get("deepspeed"), str):
        values["deepspeed"] = read_json(values["deepspeed"], path)
    for override in overrides:
        apply_override(values, override)
    return resolve(values, str(path))


def load_resolved(path: Path) -> Recipe:
    """Read the recipe part of a run folder's config.yaml, which an earlier version may have written.

    Raises:
        UserError: it is missing or damaged, or a key or value is wrong.
    """
    return resolve(read_recorded(path).recipe, str(path))


def resolve(values: Mapping[str, Any], file: str) -> Recipe:
    """Check a recipe's values and complete them with defaults; `file` is what messages call it.

    Raises:
        UserError: a key or value is wrong.
    """
    out = Path(str(values.get("out")))
    try:
        _check_numbers(values)
        return Recipe.model_validate(values, context=lambda source: source_of(source, out, load_resolved))
    except ValidationError as error:
        raise UserError(f"{file}: {complaint(error)}") from None
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _check_numbers(values: Any, key: str = "") -> None:
    """Look for whole numbers that other programs cannot hold, anywhere in a recipe.

    Raises:
        UserError: one is too large; names its key.
    """
    if isinstance(values, int) and abs(values) > _LARGEST:
        raise UserError(f"{key}: must be within ±{_LARGEST:,}, not {values}")
    inside = values.items() if isinstance(values, Mapping) else enumerate(values) if isinstance(values, list) else ()
    for name, value in inside:
        _check_numbers(value, f"{key}.{name}" if key else str(name))
