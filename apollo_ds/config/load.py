"""Make a `Recipe` from a recipe's file and the words of a command line. Every mistake is one sentence.

Nothing here imports torch, so a mistake is reported within a second.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from apollo_ds.config.complaint import complaint
from apollo_ds.config.deepspeed import check_deepspeed
from apollo_ds.config.effects import check_effects
from apollo_ds.config.not_a_recipe import not_a_recipe
from apollo_ds.config.overrides import apply_override, read_deepspeed, read_mapping
from apollo_ds.config.packaged import find_recipe
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.recorded import read_recorded
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.config.source_run import Reader
from apollo_ds.errors import UserError, shown

_LARGEST = 2**53
"""Whole numbers up to this are exact in every reader of JSON, which metrics and manifests are written in."""


def load_recipe(path: Path | str, overrides: Sequence[str] = (), given_in: str = "command line") -> Recipe:
    """Read a recipe, change keys of it, and check all of it. It takes no time: torch is not imported.

    Args:
        path: A recipe's file, or the name of one of the package's, such as `bert-base`.
        overrides: `key=value` for each key to change, such as `steps=500` or `method.jump_at=0.7`.
        given_in: Where the overrides stand. Messages about them begin with it.

    Returns:
        The recipe, with all defaults filled in.

    Raises:
        UserError: The file is missing or not a mapping, or a key or value is wrong.
    """
    found = find_recipe(path)
    if found is None:
        raise UserError(not_a_recipe(path))
    path = found
    values = _read(path)
    try:
        for override in overrides:
            apply_override(values, override)
    except UserError as error:
        raise UserError(f"{given_in}: {error}") from None
    try:
        return _checked(values)
    except UserError as error:
        blamed = path if not overrides or _complaint_of_file(path) == str(error) else given_in
        raise UserError(f"{blamed}: {error}") from None


def _read(path: Path) -> dict[str, Any]:
    """The values of a recipe's file. A DeepSpeed file that it names is read too."""
    values = read_mapping(path, "recipe")
    if isinstance(values.get("deepspeed"), str):
        try:
            values["deepspeed"] = read_deepspeed(values["deepspeed"], path)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    return values


def _complaint_of_file(path: Path) -> str | None:
    """The mistake in a recipe's file itself, if no override has caused it. None if the file is right."""
    try:
        _checked(_read(path))
    except UserError as error:
        return str(error)
    return None


def load_resolved(path: Path) -> Recipe:
    """Read the recipe part of a run folder's config.yaml, which an earlier version may have written.

    Raises:
        UserError: the file is missing or damaged, or a key or value is wrong.
    """
    return resolve(read_recorded(path).recipe, str(path))


def resolve(values: Mapping[str, Any], file: str) -> Recipe:
    """Check a recipe's values and complete them with defaults. Messages call the recipe `file`.

    Raises:
        UserError: a key or value is wrong.
    """
    try:
        return _validated(values)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _checked(values: Mapping[str, Any]) -> Recipe:
    """Check a recipe that a user has written, and that every option has an effect.

    If the run has begun, options without effect are allowed, so that it can go on.
    """
    if isinstance(values.get("deepspeed"), dict):
        check_deepspeed(values["deepspeed"])
    recipe = _validated(values)
    if not RunFolder(recipe.out).exists:
        check_effects(recipe.method, recipe.as_method_sees_it())
    return recipe


def _validated(values: Mapping[str, Any]) -> Recipe:
    out = Path(os.path.expanduser(str(values.get("out"))))
    _check_numbers(values)
    try:
        return Recipe.model_validate(values, context=Reader(out, load_resolved))
    except ValidationError as error:
        raise UserError(complaint(error, Recipe)) from None


def _check_numbers(values: Any, key: str = "") -> None:
    """Check that other programs can hold all whole numbers of a recipe.

    Raises:
        UserError: a number is too large. The message names its key.
    """
    if isinstance(values, int) and abs(values) > _LARGEST:
        raise UserError(f"{key}: must be within ±{_LARGEST:,}, not {shown(values)}")
    inside = values.items() if isinstance(values, Mapping) else enumerate(values) if isinstance(values, list) else ()
    for name, value in inside:
        _check_numbers(value, f"{key}.{name}" if key else str(name))
