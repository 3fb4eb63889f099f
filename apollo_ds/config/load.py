"""From a recipe's file and the words of a command line to a `Recipe`, with every mistake told in one sentence.

Nothing here imports torch, so a mistake is reported within a second.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from apollo_ds.checkpoint.files import newest_sound, read_manifest
from apollo_ds.config.deepspeed import check_deepspeed, zero_stage
from apollo_ds.config.overrides import apply_override, read_json, read_mapping
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.recorded import read_recorded, with_defaults
from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS, Combination, Method
from apollo_ds.models.families import family_of, preset, shape_class_of
from apollo_ds.schedule.source import SourceRun
from apollo_ds.schedule.totals import Totals

DEFAULT_RECIPE = Path("launch/recipes/demo.yaml")

_Result = TypeVar("_Result")


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, apply `key=value` overrides (dotted keys reach inside), and check all of it.

    Raises:
        UserError: the file is missing or not a mapping, or a key or value is wrong.
    """
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
    except (KeyError, TypeError):
        raise UserError(f"{path}: damaged; its recipe lacks a model or a method") from None
    return resolve(values, str(path))


def resolve(values: dict[str, Any], source: str) -> Recipe:
    """Check a recipe's values and complete them with defaults; `source` is what messages call it.

    Raises:
        UserError: a key or value is wrong.
    """
    values = dict(values)
    _refuse_unknown(values, Recipe.model_fields, source, "")
    model = values.get("model")
    if isinstance(model, str):
        values["model"] = _told(source, lambda: preset(model))
    elif isinstance(model, dict):
        kind = shape_class_of(model)
        _refuse_unknown(model, kind.model_fields, source, "model.")
        try:
            values["model"] = kind(**model)
        except ValidationError as error:
            raise UserError(_first_error(error, source, "model.")) from None
    if "method" in values:
        values["method"] = _method(values["method"], source, str(values.get("out")))
    try:
        recipe = Recipe(**values)
    except ValidationError as error:
        raise UserError(_first_error(error, source)) from None
    family = _told(source, lambda: family_of(recipe.model))
    _told(source, recipe.schedule)
    if recipe.seq_len > recipe.model.max_position_embeddings:
        raise UserError(
            f"{source}: seq_len {recipe.seq_len} is longer than "
            f"model.max_position_embeddings {recipe.model.max_position_embeddings}"
        )
    if recipe.masking == "whole_word" and not family.is_masked:
        raise UserError(f"{source}: masking: {recipe.model.family} has no masks, so no whole_word; remove it")
    check_deepspeed(recipe.deepspeed, source)
    if recipe.compile_blocks and zero_stage(recipe.deepspeed) == 3:
        raise UserError(f"{source}: compile_blocks: ZeRO 3 moves weights inside each layer; use stage 1 or 2 with it")
    return recipe


def _method(value: Any, source: str, out: str) -> Method:
    """A method by name or with options, or a list: a method, and what is laid over its stages."""
    if isinstance(value, dict) and isinstance(value.get("parts"), list):  # as a resolved recipe has it
        value = value["parts"]
    if not isinstance(value, list):
        return _single_method(value, source, out)
    if not value:
        raise UserError(f"{source}: method: the list is empty")
    return _told(source, lambda: Combination.of([_single_method(part, source, out) for part in value]))


def _single_method(value: Any, source: str, out: str) -> Method:
    options = {"name": value} if isinstance(value, str) else value
    if not isinstance(options, dict) or str(options.get("name")) not in METHODS:
        raise UserError(f"{source}: method: choose one of {', '.join(METHODS)}, not {value!r}")
    kind = METHODS[str(options["name"])]
    _refuse_unknown(options, kind.model_fields, source, "method.")
    if isinstance(options.get("source"), str):
        options = {**options, "source": _told(source, lambda: _source(options["source"], Path(out)))}
    try:
        return _told(source, lambda: kind(**options))
    except ValidationError as error:
        raise UserError(_first_error(error, source, "method.")) from None


def _refuse_unknown(values: Mapping[str, Any], known: Mapping[str, Any], source: str, prefix: str) -> None:
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)
            raise UserError(f"{source}: unknown key {prefix}{key}; did you mean {prefix}{near[0]}?")


def _told(source: str, check: Callable[[], _Result]) -> _Result:
    """The result of a check; its complaint names the file."""
    try:
        return check()
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


def _first_error(error: ValidationError, source: str, prefix: str = "") -> str:
    first = error.errors()[0]
    key = (prefix + ".".join(str(part) for part in first["loc"])).removesuffix(".")
    if first["type"] == "missing":
        return f"{source}: {key} is missing"
    if first["type"] == "value_error":
        return f"{source}: {key}: {first['msg'].removeprefix('Value error, ')}"
    return f"{source}: {key}: {first['msg']}, not {first['input']!r}"


def _source(folder: str, out: Path) -> SourceRun | dict[str, Any]:
    """The source run in `folder`.

    If the run in `out` has already started from it, what that run recorded counts, since the source may have changed or
    be gone. Otherwise the folder is read as it is now.
    """
    config = out / "config.yaml"
    if not config.is_file():
        return read_source(Path(folder))
    method = read_recorded(config)["method"]
    known = method.get("parts", [method])[0].get("source")
    return known if known and known["folder"] == str(Path(folder)) else read_source(Path(folder))


def read_source(folder: Path) -> SourceRun:
    """The run in a folder, at its newest sound checkpoint.

    Raises:
        UserError: it is no run, has no sound checkpoint, or has not come to its last stage.
    """
    config = folder / "config.yaml"
    if not config.is_file():
        raise UserError(f"method.source: {folder} is not a run folder: it has no config.yaml; name a run's")
    schedule = load_resolved(config).schedule()
    checkpoint, complaints = newest_sound(folder / "checkpoints")
    if checkpoint is None:
        found = "; ".join(complaints) or "there is none"
        raise UserError(f"method.source: {folder} has no sound checkpoint ({found}); let the run save one")
    manifest = read_manifest(checkpoint)
    stage, last = manifest["course"]["stage"], len(schedule.stages) - 1
    if stage < last:
        raise UserError(
            f"method.source: {checkpoint} is of stage {stage + 1} of {last + 1}, which trains another model than "
            "the last; let the run reach its last stage"
        )
    spent = Totals(**manifest["totals"])
    return SourceRun(
        folder=folder,
        checkpoint=checkpoint,
        step=spent.step,
        steps=schedule.total_steps,
        shape=schedule.stages[-1].shape.model_copy(update={"num_layers": schedule.stages[-1].unique_layers}),
        tokenizer=yaml.safe_load(config.read_text()).get("tokenizer"),
        spent=spent + schedule.source.spent if schedule.source else spent,
    )
