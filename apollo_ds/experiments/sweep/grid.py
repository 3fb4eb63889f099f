"""Read the file that describes a sweep, and derive its runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, product
from math import ceil, lcm
from pathlib import Path
from typing import Any, Self

from apollo_ds.config.load import load_recipe
from apollo_ds.config.overrides import read_mappings
from apollo_ds.config.packaged import DEFAULT_RECIPE, expanded
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import UserError, shown
from apollo_ds.experiments.sweep.cell import Cell, Trunk
from apollo_ds.experiments.sweep.words import label, plain, word
from data_prep.counted import counted
from data_prep.did_you_mean import choice

_KEYS = ("recipe", "set", "grid", "further_seeds", "branches", "out")
_OF_EACH_PART = ("set", "grid", "further_seeds", "branches")
_NEEDED = ("learning_rate", "seed")
"""The keys that a grid must have to run further seeds at the best learning rate."""


@dataclass(frozen=True)
class Part:
    """A document of a sweep's file, for all combinations of its grid's values."""

    fixed: Mapping[str, Any]
    combinations: tuple[Mapping[str, Any], ...]
    further_seeds: tuple[int, ...]
    out: Path
    branches: tuple[int, ...]
    """The steps at which a branch of each run ends."""

    @property
    def cells(self) -> list[Cell]:
        """The runs of the document. The values of the last key change fastest. Branches come behind all other runs."""
        own = [self.cell(combination) for combination in self.combinations]
        return own + [self._branch(combination, steps) for combination in self.combinations for steps in self.branches]

    def cell(self, combination: Mapping[str, Any]) -> Cell:
        """The run for one combination of values of the grid's keys."""
        return self._cell(combination, {})

    def _branch(self, combination: Mapping[str, Any], steps: int) -> Cell:
        """The branch of a combination's run that ends at `steps`.

        It branches off where its own decay begins. Its warm-up is as long as that of the run.
        """
        decay = ceil(round(self.fixed["decay_fraction"] * steps, 6))
        start = {
            "branch_from": f"{self.cell(combination).folder}@{steps - decay}",
            "warmup_fraction": self.fixed["warmup_fraction"] * self.fixed["steps"] / steps,
        }
        return self._cell({**combination, "steps": steps}, start)

    def _cell(self, named: Mapping[str, Any], unnamed: Mapping[str, Any]) -> Cell:
        name = ",".join(label(key, value) for key, value in named.items())
        folder = self.out / name
        # A dotted key changes a value inside what a shorter key sets, so it comes later.
        settings = sorted({**self.fixed, **named, **unnamed}.items(), key=lambda setting: setting[0].count("."))
        words = [word(key, value) for key, value in settings]
        return Cell(name, folder, (*words, f"out={folder}"))


@dataclass(frozen=True)
class Grid:
    """A sweep: a recipe, and its runs in the order in which they are trained."""

    recipe: Path
    out: Path
    """The folder in which each run has its folder."""
    parts: tuple[Part, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a sweep's file. Check every recipe that follows from it, and every folder that exists already.

        If a branch's run has not reached its step yet, everything but the branch point is checked.

        Raises:
            UserError: the file is wrong (`parse`), a recipe is wrong, a folder holds the run of another recipe, or a
                run will not keep the checkpoint that a branch of it needs.
        """
        grid = cls.parse(path)
        recipes: dict[Path, Recipe] = {}
        for cell in grid.cells:
            trunk = grid.trunk(cell)
            awaited = trunk if trunk and trunk.is_awaited_by(cell) else None
            words = cell.unbranched_words if awaited else cell.words
            recipes[cell.folder] = checked = load_recipe(grid.recipe, words, given_in=f"{path}: {cell.name}")
            try:
                RunFolder(checked.out).check(checked)
                if awaited:
                    _check_kept(awaited, recipes)
            except UserError as error:
                raise UserError(f"{path}: {cell.name}: {error}") from None
        return grid

    @classmethod
    def parse(cls, path: Path) -> Self:
        """Read a sweep's file, but no file that it names.

        It has one or more YAML documents, and each has its own runs. What the first document sets holds for the others
        too, unless they set the same key, or list it in their grid.

        Raises:
            UserError: the file cannot be read or has an unknown key, a grid is empty, or two runs would have the same
                folder.
        """
        documents = read_mappings(path, "sweep")
        first = documents[0]
        if not first.keys() & set(_KEYS) - {"out"} and first.keys() & Recipe.model_fields.keys():
            raise UserError(f"{path}: is a recipe, not the grid of a sweep, which has the keys {', '.join(_KEYS)}")
        recipe = expanded(_typed(str(path), "recipe", first.get("recipe", str(DEFAULT_RECIPE)), str))
        out = expanded(_typed(str(path), "out", first.get("out"), str))
        parts: list[Part] = []
        for number, values in enumerate(documents):
            where = f"{path}: document {number + 1}" if number else str(path)
            _check_keys(where, values, _OF_EACH_PART if number else _KEYS)
            parts.append(_part(where, values, out, parts[0].fixed if parts else {}))
        grid = cls(recipe, out, tuple(parts))
        _check_folders(path, grid.cells)
        return grid

    @cached_property
    def cells(self) -> list[Cell]:
        """The runs of all parts, without the further runs, whose learning rate follows from these."""
        return [cell for part in self.parts for cell in part.cells]

    def trunk(self, cell: Cell) -> Trunk | None:
        """The trunk of a run. None if it does not branch off another run of this sweep."""
        return Trunk.of(cell, self.cells)

    def lines(self, cells: Sequence[Cell]) -> list[str]:
        """A line with the recipe and the overrides of each run. launch/pretrain.sbatch takes them as @LIST.

        Raises:
            UserError: a value has white space, at which the line would be split.
        """
        lines = [(str(self.recipe), *cell.words) for cell in cells]
        for part in chain.from_iterable(lines):
            if len(part.split()) > 1:
                raise UserError(f"--list: {part!r} has a space in it, and a line of the list is split at spaces")
        return [" ".join(line) for line in lines]


def _part(where: str, values: Mapping[str, Any], out: Path, inherited: Mapping[str, Any]) -> Part:
    fixed = {str(key): plain(value) for key, value in _typed(where, "set", values.get("set", {}), dict).items()}
    grid = {str(key): column for key, column in _typed(where, "grid", values.get("grid", {}), dict).items()}
    _check_grid(where, fixed, grid)
    seeds = _typed(where, "further_seeds", values.get("further_seeds", []), list)
    _check_further_seeds(where, seeds, grid)
    columns = ([(key, plain(value)) for value in column] for key, column in grid.items())
    combinations = tuple(dict(combination) for combination in product(*columns))
    kept = {key: value for key, value in inherited.items() if key not in grid}
    branches = _typed(where, "branches", values.get("branches", []), list)
    _check_branches(where, branches, {**kept, **fixed}, seeds)
    return Part({**kept, **fixed}, combinations, tuple(seeds), out, tuple(branches))


_EXPECTED: dict[Any, str] = {dict: "a mapping of the recipe's keys", list: "a list", str: "a path"}


def _typed(where: str, key: str, value: Any, kind: type) -> Any:
    if value is None:
        raise UserError(f"{where}: {key} is missing")
    if not isinstance(value, kind):
        raise UserError(f"{where}: {key}: must be {_EXPECTED[kind]}, not {shown(value)}")
    return value


def _check_keys(where: str, values: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in values:
        if key in _KEYS and key not in known:
            raise UserError(f"{where}: {key}: stands in the first document, for all")
        if key not in known:
            raise UserError(f"{where}: unknown key {key}; {choice(known, key)}")


def _check_grid(where: str, fixed: Mapping[str, Any], grid: Mapping[str, Any]) -> None:
    if not grid:
        raise UserError(f"{where}: grid: is empty; list values of at least one of the recipe's keys")
    for key, column in grid.items():
        if not isinstance(column, list) or not column:
            raise UserError(f"{where}: grid.{key}: must be a list of values, not {shown(column)}")
        if key in fixed:
            raise UserError(f"{where}: {key} stands in both set and grid; remove one")
    if "out" in {*fixed, *grid}:
        raise UserError(f"{where}: out: every run has its own; name the sweep's folder by the key `out` of this file")


def _check_further_seeds(where: str, seeds: Sequence[Any], grid: Mapping[str, Any]) -> None:
    if not all(type(seed) is int for seed in seeds):
        raise UserError(f"{where}: further_seeds: must be a list of seeds, not {shown(seeds)}")
    missing = [key for key in _NEEDED if key not in grid]
    if seeds and missing:
        raise UserError(f"{where}: further_seeds: run at the best learning rate; list {' and '.join(missing)} in grid")


def _check_branches(where: str, branches: Sequence[Any], fixed: Mapping[str, Any], seeds: Sequence[int]) -> None:
    if not branches:
        return
    if not all(type(steps) is int and steps > 0 for steps in branches):
        raise UserError(f"{where}: branches: must be a list of the steps at which each ends, not {shown(branches)}")
    parts = [fixed.get(key) for key in ("warmup_fraction", "decay_fraction")]
    if not all(isinstance(part, int | float) and 0 < part < 1 for part in parts) or type(fixed.get("steps")) is not int:
        raise UserError(
            f"{where}: branches: need steps, and a warmup_fraction and a decay_fraction between 0 and 1, in set"
        )
    if seeds:
        raise UserError(f"{where}: branches: further_seeds have none; list the seeds in grid")


def _check_kept(trunk: Trunk, recipes: Mapping[Path, Recipe]) -> None:
    """Check that a run comes before its branch, and that it will keep the checkpoint that the branch needs."""
    recipe, step = recipes.get(trunk.cell.folder), trunk.step
    if recipe is None:
        raise UserError(f"branch_from: {trunk.cell.name} comes later in this file; put it before its branches")
    if step > recipe.steps:
        raise UserError(f"branch_from: {trunk.cell.name} has {counted(recipe.steps, 'step')}, and none {step:,}")
    every = lcm(recipe.save_every, recipe.keep_every)
    if step not in (recipe.steps, recipe.schedule().decays_from) and (not every or step % every):
        raise UserError(
            f"branch_from: {trunk.cell.name} will not keep a checkpoint of step {step:,}; give it a save_every and a "
            "keep_every that divide that"
        )


def _check_folders(path: Path, cells: Sequence[Cell]) -> None:
    seen: set[Path] = set()
    for cell in cells:
        if cell.folder in seen:
            raise UserError(f"{path}: grid: two runs would have the folder {cell.folder}; no value may come twice")
        seen.add(cell.folder)
