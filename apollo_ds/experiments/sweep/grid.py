"""The file that describes a sweep, and the runs that follow from it."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from typing import Any, Self

from apollo_ds.config.load import load_recipe
from apollo_ds.config.overrides import read_mapping
from apollo_ds.config.packaged import DEFAULT_RECIPE
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import UserError
from apollo_ds.experiments.sweep.words import label, plain, word

_KEYS = ("recipe", "set", "grid", "out")


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    name: str
    """The last part of its folder's path, from the grid's values."""
    folder: Path
    words: tuple[str, ...]
    """The overrides of the recipe, `out` among them, none with white space in it unless a text has some."""


@dataclass(frozen=True)
class Grid:
    """A sweep: a recipe, and its runs in the order in which they are to be done."""

    recipe: Path
    cells: tuple[Cell, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a sweep's file, and check every recipe that follows from it, and every folder that is there already.

        The runs are all combinations of the grid's values, the last key's changing fastest.

        Raises:
            UserError: the file cannot be read or has an unknown key, the grid is empty, two runs would have the same
                folder, a recipe is wrong, or a folder holds another recipe's run.
        """
        values = _read(path)
        recipe = Path(_typed(path, "recipe", values.get("recipe", str(DEFAULT_RECIPE)), str))
        fixed = {str(key): plain(value) for key, value in _typed(path, "set", values.get("set", {}), dict).items()}
        grid = _typed(path, "grid", values.get("grid", {}), dict)
        out = Path(_typed(path, "out", values.get("out"), str))
        _check_keys(path, fixed, grid)
        combinations = product(*([(str(key), plain(value)) for value in column] for key, column in grid.items()))
        cells = tuple(_cell(out, fixed, combination) for combination in combinations)
        _check_folders(path, cells)
        for cell in cells:
            try:
                checked = load_recipe(recipe, cell.words)
                RunFolder(checked.out).check(checked)
            except UserError as error:
                raise UserError(f"{path}: {cell.name}: {error}") from None
        return cls(recipe, cells)

    def lines(self, cells: Sequence[Cell]) -> list[str]:
        """The recipe and the overrides of some runs, a line each, which launch/pretrain.sbatch takes as @LIST.

        Raises:
            UserError: a value has white space, at which the line would be cut.
        """
        lines = [(str(self.recipe), *cell.words) for cell in cells]
        for part in chain.from_iterable(lines):
            if len(part.split()) > 1:
                raise UserError(f"--list: {part!r} has a space in it, and a line of the list is split at spaces")
        return [" ".join(line) for line in lines]


def _read(path: Path) -> dict[str, Any]:
    values = read_mapping(path, "sweep")
    for key in values:
        if key not in _KEYS:
            (near,) = difflib.get_close_matches(str(key), _KEYS, n=1, cutoff=0.0)
            raise UserError(f"{path}: unknown key {key}; did you mean {near}?")
    return values


def _typed(path: Path, key: str, value: Any, kind: type) -> Any:
    if value is None:
        raise UserError(f"{path}: {key} is missing")
    if not isinstance(value, kind):
        expected = "a mapping of the recipe's keys" if kind is dict else "a path"
        raise UserError(f"{path}: {key}: must be {expected}, not {value!r}")
    return value


def _check_keys(path: Path, fixed: Mapping[str, Any], grid: Mapping[str, Any]) -> None:
    if not grid:
        raise UserError(f"{path}: grid: is empty; list values of at least one of the recipe's keys")
    for key, column in grid.items():
        if not isinstance(column, list) or not column:
            raise UserError(f"{path}: grid.{key}: must be a list of values, not {column!r}")
        if key in fixed:
            raise UserError(f"{path}: {key} stands in both set and grid; remove one")
    if "out" in {*fixed, *grid}:
        raise UserError(f"{path}: out: every run has its own; name the sweep's folder by the key `out` of this file")


def _check_folders(path: Path, cells: Sequence[Cell]) -> None:
    seen: set[Path] = set()
    for cell in cells:
        if cell.folder in seen:
            raise UserError(f"{path}: grid: two runs would have the folder {cell.folder}; no value may come twice")
        seen.add(cell.folder)


def _cell(out: Path, fixed: Mapping[str, Any], combination: Sequence[tuple[str, Any]]) -> Cell:
    name = ",".join(label(key, value) for key, value in combination)
    folder = out / name
    # A dotted key reaches into what a shorter one sets.
    settings = sorted([*fixed.items(), *combination], key=lambda setting: setting[0].count("."))
    words = [word(key, value) for key, value in settings]
    return Cell(name, folder, (*words, f"out={folder}"))
