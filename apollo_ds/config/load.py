"""From a recipe's file and the words of a command line to a `Recipe`, with every mistake told in one sentence.

Nothing here imports torch, so a mistake is reported within a second.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from apollo_ds.config.deepspeed import check_deepspeed, zero_stage
from apollo_ds.config.overrides import apply_override, read_json, read_mapping
from apollo_ds.config.packaged import find_recipe
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.recorded import with_defaults
from apollo_ds.config.source_run import source_of
from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS, Combination, Method
from apollo_ds.models.families import family_of, preset, shape_class_of

_Result = TypeVar("_Result")


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
        UserError: it has none, or a key or value is wrong.
    """
    values = read_mapping(path, "recipe").get("recipe")
    if not isinstance(values, dict):
        raise UserError(f"{path}: damaged; it holds no recipe")
    try:
        values = with_defaults(values)
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: damaged; its recipe lacks a model or a method") from None
    return resolve(values, str(path))


def resolve(values: dict[str, Any], file: str) -> Recipe:
    """Check a recipe's values and complete them with defaults; `file` is what messages call it.

    Raises:
        UserError: a key or value is wrong.
    """
    values = dict(values)
    _refuse_unknown(values, Recipe.model_fields, file, "")
    model = values.get("model")
    if isinstance(model, str):
        values["model"] = _told(file, lambda: preset(model))
    elif isinstance(model, dict):
        kind = shape_class_of(model)
        _refuse_unknown(model, kind.model_fields, file, "model.")
        try:
            values["model"] = kind(**model)
        except ValidationError as error:
            raise UserError(_first_error(error, file, "model.")) from None
    if "method" in values:
        values["method"] = _method(values["method"], file, str(values.get("out")))
    try:
        recipe = Recipe(**values)
    except ValidationError as error:
        raise UserError(_first_error(error, file)) from None
    family = _told(file, lambda: family_of(recipe.model))
    _told(file, recipe.schedule)
    if recipe.seq_len > recipe.model.max_position_embeddings:
        raise UserError(
            f"{file}: seq_len {recipe.seq_len} is longer than "
            f"model.max_position_embeddings {recipe.model.max_position_embeddings}"
        )
    if recipe.masking == "whole_word" and not family.is_masked:
        raise UserError(f"{file}: masking: {recipe.model.family} has no masks, so no whole_word; remove it")
    check_deepspeed(recipe.deepspeed, file)
    if recipe.compile_blocks and zero_stage(recipe.deepspeed) == 3:
        raise UserError(f"{file}: compile_blocks: ZeRO 3 moves weights inside each layer; use stage 1 or 2 with it")
    return recipe


def _method(value: Any, file: str, out: str) -> Method:
    """A method by name or with options, or a list: a method, and what is laid over its stages."""
    if isinstance(value, dict) and isinstance(value.get("parts"), list):  # as a resolved recipe has it
        value = value["parts"]
    if not isinstance(value, list):
        return _single_method(value, file, out)
    if not value:
        raise UserError(f"{file}: method: the list is empty")
    return _told(file, lambda: Combination.of([_single_method(part, file, out) for part in value]))


def _single_method(value: Any, file: str, out: str) -> Method:
    options = {"name": value} if isinstance(value, str) else value
    if not isinstance(options, dict) or str(options.get("name")) not in METHODS:
        raise UserError(f"{file}: method: choose one of {', '.join(METHODS)}, not {value!r}")
    kind = METHODS[str(options["name"])]
    _refuse_unknown(options, kind.model_fields, file, "method.")
    if isinstance(options.get("source"), str):
        options = {
            **options,
            "source": _told(file, lambda: source_of(Path(options["source"]), Path(out), load_resolved)),
        }
    try:
        return _told(file, lambda: kind(**options))
    except ValidationError as error:
        raise UserError(_first_error(error, file, "method.")) from None


def _refuse_unknown(values: Mapping[str, Any], known: Mapping[str, Any], file: str, prefix: str) -> None:
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)
            raise UserError(f"{file}: unknown key {prefix}{key}; did you mean {prefix}{near[0]}?")


def _told(file: str, check: Callable[[], _Result]) -> _Result:
    """The result of a check; its complaint names the file."""
    try:
        return check()
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _first_error(error: ValidationError, file: str, prefix: str = "") -> str:
    first = error.errors()[0]
    key = (prefix + ".".join(str(part) for part in first["loc"])).removesuffix(".")
    if first["type"] == "missing":
        return f"{file}: {key} is missing"
    if first["type"] == "value_error":
        return f"{file}: {key}: {first['msg'].removeprefix('Value error, ')}"
    return f"{file}: {key}: {first['msg']}, not {first['input']!r}"
