"""Which runs are one recipe under several seeds, and which may stand side by side at all."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from apollo_ds.config.recipe import Recipe
from apollo_ds.errors import UserError
from apollo_ds.experiments.history import Cost, Curve, Evaluation, RunHistory

Flat = dict[str, Any]
"""A recipe with dotted keys, as they stand on the command line."""


@dataclass(frozen=True)
class Group:
    """Runs of one recipe that differ in the seed alone, in its order."""

    name: str
    runs: tuple[RunHistory, ...]

    @property
    def finished(self) -> tuple[RunHistory, ...]:
        """Those that came to their end."""
        return tuple(run for run in self.runs if run.finished)

    @property
    def shown(self) -> tuple[RunHistory, ...]:
        """Those whose means and curves are shown: the finished ones, or all if none is."""
        return self.finished or self.runs

    @property
    def flat(self) -> Flat:
        """The recipe that the runs have in common."""
        return _flat_recipe(self.runs[0])

    def evaluations(self) -> list[list[Evaluation]]:
        """Those of all shown runs, at each step at which all of them have one."""
        by_step = [{point.step: point for point in run.curve} for run in self.shown]
        return [
            [points[step] for points in by_step] for step in by_step[0] if all(step in points for points in by_step)
        ]

    def mean_curve(self) -> Curve:
        """The mean, at each of `evaluations`, of what the runs had spent and of their losses."""
        return [
            Evaluation(points[0].step, mean_cost([point.cost for point in points]), fmean(p.loss for p in points))
            for points in self.evaluations()
        ]


def mean_cost(costs: Sequence[Cost]) -> Cost:
    """The mean of each currency."""
    return Cost(*(fmean(getattr(cost, key) for cost in costs) for key in ("flops", "tokens", "seconds")))


def group_runs(runs: Sequence[RunHistory]) -> list[Group]:
    """The runs by recipe, leaving out `seed` and `out`, in the order in which each recipe first appears.

    A group is named after its method, and after the keys in which it differs from others of that method.

    Raises:
        UserError: two runs have the same recipe and the same seed.
    """
    by_recipe: dict[str, list[RunHistory]] = {}
    for run in runs:
        by_recipe.setdefault(json.dumps(_without_seed(run), sort_keys=True), []).append(run)
    members = [tuple(sorted(same, key=lambda run: run.seed)) for same in by_recipe.values()]
    for same in members:
        for seed, twins in groupby(same, key=lambda run: run.seed):
            first, *others = twins
            if others:
                raise UserError(
                    f"{first.folder} and {others[0].folder} are the same recipe with the same seed, {seed}; "
                    "name one of them"
                )
    names = _names([_flat_recipe(same[0]) for same in members])
    return [Group(name, same) for name, same in zip(names, members, strict=True)]


def differing(groups: Sequence[Group]) -> dict[str, list[Any]]:
    """The keys of the recipe in which groups differ, other than the method's own, with each group's value."""
    recipes = [group.flat for group in groups]
    keys = [key for key in differing_keys(recipes) if not key.startswith("method.")]
    return {key: [recipe.get(key) for recipe in recipes] for key in keys}


def find_group(groups: Sequence[Group], wanted: str | None) -> Group:
    """The group that a run's folder or a group's name stands for; the first if nothing is wanted.

    Raises:
        UserError: there is no such group.
    """
    if wanted is None:
        return groups[0]
    for group in groups:
        if wanted == group.name or any(run.folder.resolve() == Path(wanted).resolve() for run in group.runs):
            return group
    names = ", ".join(group.name for group in groups)
    raise UserError(f"--baseline {wanted}: neither the folder of a run nor one of {names}")


_MAY_DIFFER = ("dropout", "initializer_range")
"""Of a model's shape: how it is trained and where it begins, not what it is."""


_OF_ANY_SIZE = ("family", "vocab_size")
"""Of a model's shape: what the losses of models of different sizes must have in common."""


def check_comparable(runs: Sequence[RunHistory], of_one_model: bool = True) -> None:
    """Refuse runs whose held-out losses are of different things.

    Raises:
        UserError: two of them differ in the held-out text, the tokenizer, the model that they train, or in the
            length, number, masking or document mask of the held-out samples; names both and the first difference.
            Unless they are to be `of_one_model`, of the model only family and vocabulary must be the same.
    """
    first, *others = runs
    for other in others:
        pairs = _of_the_loss(first, other) + _of_the_model(first, other, of_one_model)
        for what, here, there in pairs:
            if here != there:
                raise UserError(f"{other.folder} cannot be compared with {first.folder}: {what} {there}, not {here}")


def _of_the_loss(first: RunHistory, other: RunHistory) -> list[tuple[str, Any, Any]]:
    """What must agree for two losses to be of the same thing: in words, and of either run."""
    pairs = [
        ("its held-out text is", *_recorded("held_out", first, other)),
        ("its tokenizer is", *_recorded("tokenizer", first, other)),
    ]
    keys = ("seq_len", "eval_samples", "masking", "document_mask")
    return pairs + [(f"{key} is", first.recipe.get(key), other.recipe.get(key)) for key in keys]


def _of_the_model(first: RunHistory, other: RunHistory, all_sizes: bool) -> list[tuple[str, Any, Any]]:
    """What of the models must agree: in words, and of either run."""
    here, there = first.recipe["model"], other.recipe["model"]
    keys = [key for key in here if key not in _MAY_DIFFER] if all_sizes else _OF_ANY_SIZE
    return [(f"model.{key} is", here.get(key), there.get(key)) for key in keys]


def share_model(runs: Sequence[RunHistory]) -> bool:
    """Whether all of them train one model."""
    return all(here == there for run in runs for _, here, there in _of_the_model(runs[0], run, all_sizes=True))


def _recorded(what: str, first: RunHistory, other: RunHistory) -> tuple[Any, Any]:
    """The hash that both folders hold; the folder of the text where an earlier version wrote one of them."""
    if what in first.config and what in other.config:
        return first.config[what], other.config[what]
    return first.recipe["data"], other.recipe["data"]


_TRUNK = ("step", "layers", "shape", "seq_len", "depths", "position", "learning_rate")
"""What trunks of one recipe have in common at the step that branches go on from."""


def _without_seed(run: RunHistory) -> dict[str, Any]:
    recipe = {key: value for key, value in run.recipe.items() if key not in ("seed", "out")}
    point = recipe.get("branch_from")
    if point:  # seeds branch off runs of their own
        recipe["branch_from"] = {key: point[key] for key in _TRUNK if key in point}
    return recipe


def _flat_recipe(run: RunHistory) -> Flat:
    """Without where it starts from if it starts from nothing: no name tells that."""
    recipe, point = _without_seed(run), run.recipe.get("branch_from")
    if point:
        recipe["branch_from"] = f"{point['folder']}@{point['step']}"
    return flat_values({k: v for k, v in recipe.items() if v is not None or k not in ("branch_from", "init_from")})


_OF_FOLDERS = ("data", "held_out")
"""Keys whose mappings are of folders, so that these are no keys of a recipe."""


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


def _names(recipes: Sequence[Flat]) -> list[str]:
    """`apollo`, or `apollo,learning_rate=0.002` where the rate tells it from another apollo.

    A key with whose other value a run may go on, such as `eval_every`, and a seventh digit are told only where nothing
    else differs.
    """
    names = [_name(recipe, recipes, in_full=False) for recipe in recipes]
    return [
        _name(recipe, recipes, in_full=True) if names.count(name) > 1 else name
        for recipe, name in zip(recipes, names, strict=True)
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
