"""What makes two runs one recipe, and what recipes are called: by what tells them apart."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from apollo_ds.config.recipe import Recipe
from apollo_ds.experiments.history import RunHistory

Flat = dict[str, Any]
"""A recipe with dotted keys, as they stand on the command line."""
_LONGEST_NAME = 64
"""Characters. Where more would be needed to tell a recipe from others, a folder does."""
_TRUNK = ("step", "layers", "shape", "seq_len", "depths", "position", "learning_rate")
"""What trunks of one recipe have in common at the step that branches go on from."""
_OF_FOLDERS = ("data", "held_out")
"""Keys whose mappings are of folders, so that these are no keys of a recipe."""


def identity(run: RunHistory, beside: frozenset[str] = frozenset()) -> str:
    """What runs of one recipe have in common: all that decides their training but the seed.

    The text is known by its hash, wherever it lies. Where an earlier version did not record it, its folder is.

    Args:
        run: the run.
        beside: further keys that are to make no difference.
    """
    recipe = _of_any_seed(run)
    if "train" in run.config:
        recipe["data"] = run.config["train"]
    return json.dumps({key: value for key, value in recipe.items() if key not in beside}, sort_keys=True)


def _of_any_seed(run: RunHistory) -> dict[str, Any]:
    left_out = {"seed", *Recipe.beside_training()}
    recipe = {key: value for key, value in run.recipe.items() if key not in left_out}
    point = recipe.get("branch_from")
    if point:  # seeds branch off runs of their own
        recipe["branch_from"] = {key: point[key] for key in _TRUNK if key in point}
    return recipe


def flat_recipe(run: RunHistory) -> Flat:
    """What `identity` is of, by dotted keys, each as a user would write it.

    Where a run starts from is left out if it starts from nothing: no name tells that.
    """
    recipe, point = _of_any_seed(run), run.recipe.get("branch_from")
    if point:
        recipe["branch_from"] = f"{point['folder']}@{point['step']}"
    recipe["data"] = text_in_words(recipe["data"])
    recipe["method"] = {**recipe["method"], "name": method_in_words(recipe)}
    return flat_values({k: v for k, v in recipe.items() if v is not None or k not in ("branch_from", "init_from")})


def text_in_words(data: str | Mapping[str, float]) -> str:
    """`data/docs`, or `0.7 data/wiki + 0.3 data/books` for a mixture, the greatest share first."""
    if isinstance(data, str):
        return data
    return " + ".join(f"{weight:g} {folder}" for folder, weight in sorted(data.items(), key=lambda part: -part[1]))


def method_in_words(recipe: Mapping[str, Any]) -> str:
    """`apollo`, or `deep_jump+pld` for a combination."""
    method = recipe["method"]
    return "+".join(part["name"] for part in method["parts"]) if "parts" in method else method["name"]


def flat_values(value: Any, prefix: str = "") -> Flat:
    """A recipe's values by dotted keys; what a source is called stands for it."""
    if prefix in _OF_FOLDERS:
        return {prefix: value}
    if isinstance(value, Mapping) and "folder" in value:  # a source, which its name stands for
        value = f"hf:{value['hf']}" if "hf" in value else value["folder"]
    if isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        value = {str(number): part for number, part in enumerate(value)}
    if not isinstance(value, Mapping) or not value:
        return {prefix: value}
    return {
        key: leaf
        for name, part in value.items()
        for key, leaf in flat_values(part, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def differing_keys(recipes: Sequence[Flat]) -> list[str]:
    """The keys in which they differ, in the order in which they appear."""
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    return [key for key in keys if any(recipe.get(key) != recipes[0].get(key) for recipe in recipes)]


def names(recipes: Sequence[tuple[Flat, Path]]) -> list[str]:
    """`apollo`, or `apollo,learning_rate=0.002` where the rate tells it from another apollo.

    A key with whose other value a run may go on, such as `micro_batch_size`, and a seventh digit are told only where
    nothing else differs. Where that would be long, or recipes differ in nothing that can be typed, such as what a
    folder of text held, a run's folder is named: `apollo (runs/a)`.

    Args:
        recipes: each recipe, and the folder of one of its runs.
    """
    flats = [flat for flat, _ in recipes]
    told = [_name(flat, flats, in_full=False) for flat in flats]
    told = [
        _name(flat, flats, in_full=True) if told.count(name) > 1 else name
        for flat, name in zip(flats, told, strict=True)
    ]
    return [
        f"{flat['method.name']} ({folder})" if told.count(name) > 1 or len(name) > _LONGEST_NAME else name
        for (flat, folder), name in zip(recipes, told, strict=True)
    ]


def _name(recipe: Flat, recipes: Sequence[Flat], in_full: bool) -> str:
    namesakes = [other for other in recipes if other["method.name"] == recipe["method.name"]]
    left_out = set() if in_full else Recipe.may_change()
    keys = [key for key in differing_keys(namesakes) if key in recipe and key not in left_out]
    shown = str if in_full else _shown
    return ",".join([recipe["method.name"], *(f"{key.removeprefix('method.')}={shown(recipe[key])}" for key in keys)])


def _shown(value: Any) -> str:
    """A value as it may be typed; of a fraction such as 200 / 5,060 its first six digits."""
    return str(float(f"{value:.6g}") if isinstance(value, float) else value)
