"""Decide which runs have the same recipe, and name recipes by what tells them apart."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from apollo_ds.config.recipe import Recipe
from apollo_ds.experiments.history import RunHistory

Flat = dict[str, Any]
"""A recipe as a flat mapping with dotted keys, as on the command line."""
_LONGEST_NAME = 64
"""The most characters of a name. If a name needs more, a run's folder is named instead."""
_TRUNK = ("step", "layers", "shape", "seq_len", "depths", "position", "learning_rate")
"""The facts that trunks of one recipe have in common at the step from which branches go on."""
_OF_FOLDERS = ("data", "held_out")
"""Keys whose values are mappings of folders. Such a mapping is not flattened."""


def identity(run: RunHistory, beside: frozenset[str] = frozenset()) -> str:
    """A text that is equal for runs of one recipe. It has everything that decides their training, but the seed.

    The text is identified by its hash, wherever it lies. If an earlier version did not record the hash, by its folder.

    Args:
        run: the run.
        beside: further keys that are ignored.
    """
    recipe = _of_any_seed(run)
    if "train" in run.config:
        recipe["data"] = run.config["train"]
    return json.dumps({key: value for key, value in recipe.items() if key not in beside}, sort_keys=True)


def _of_any_seed(run: RunHistory) -> dict[str, Any]:
    left_out = {"seed", *Recipe.beside_training()}
    recipe = {key: value for key, value in run.recipe.items() if key not in left_out}
    point = recipe.get("branch_from")
    if point:  # each seed branches off a run of its own
        recipe["branch_from"] = {key: point[key] for key in _TRUNK if key in point}
    return recipe


def flat_recipe(run: RunHistory) -> Flat:
    """The values that `identity` covers, by dotted keys, each as a user would write it.

    If a run starts from random weights, the keys of its source are left out, so that they are in no name.
    """
    recipe, point = _of_any_seed(run), run.recipe.get("branch_from")
    if point:
        recipe["branch_from"] = f"{point['folder']}@{point['step']}"
    recipe["data"] = text_in_words(recipe["data"])
    recipe["method"] = {**recipe["method"], "name": method_in_words(recipe)}
    return flat_values({k: v for k, v in recipe.items() if v is not None or k not in ("branch_from", "init_from")})


def text_in_words(data: str | Mapping[str, float]) -> str:
    """The text in words: `data/docs`, or `0.7 data/wiki + 0.3 data/books` for a mixture, the greatest share first."""
    if isinstance(data, str):
        return data
    return " + ".join(f"{weight:g} {folder}" for folder, weight in sorted(data.items(), key=lambda part: -part[1]))


def method_in_words(recipe: Mapping[str, Any]) -> str:
    """The method in words: `apollo`, or `deep_jump+pld` for a combination."""
    method = recipe["method"]
    return "+".join(part["name"] for part in method["parts"]) if "parts" in method else method["name"]


def flat_values(value: Any, prefix: str = "") -> Flat:
    """A recipe's values by dotted keys. A source is given by its name."""
    if prefix in _OF_FOLDERS:
        return {prefix: value}
    if isinstance(value, Mapping) and "folder" in value:  # a source
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
    """The keys in which recipes differ, in the order in which they appear."""
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    return [key for key in keys if any(recipe.get(key) != recipes[0].get(key) for recipe in recipes)]


def names(recipes: Sequence[tuple[Flat, Path]]) -> list[str]:
    """Name recipes: `apollo`, or `apollo,learning_rate=0.002` if the rate tells it from another apollo.

    A key that may change on resume, such as `micro_batch_size`, and a seventh digit are named only if nothing else
    differs. If the name would be long, or if no key differs (for example if only the content of a text folder does), a
    run's folder is named: `apollo (runs/a)`.

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
    """A value as a user may type it. A fraction such as 200 / 5,060 has six digits."""
    return str(float(f"{value:.6g}") if isinstance(value, float) else value)
