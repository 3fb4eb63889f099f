"""docs/development/rooms.png: the rooms of the code in the order of the import contract, and the libraries they use."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from data_prep.figure_style import GREY, INK, SMALL, WIDTH, empty_figure
from drawn.cells import EMPTY, colour_of, frame

_PROJECT = Path(__file__).resolve().parents[3]
_LIBRARIES = ("deepspeed", "torch", "transformers", "numpy", "pydantic", "matplotlib")
_FULL, _HOLLOW = "●", "○"


def facts() -> dict[str, Any]:
    """The contract of pyproject.toml, and of each room which libraries it imports: as it is imported, or later."""
    contract = tomllib.loads((_PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contract if each["type"] == "layers")
    rooms = [[name.strip() for name in layer.split("|")] for layer in layers]
    return {"rooms": [[", ".join(map(_short, room)), _uses(room)] for room in rooms]}


def _short(name: str) -> str:
    return name.removeprefix("apollo_ds.")


def _uses(room: list[str]) -> dict[str, str]:
    """By library, how it is imported; without those that are not."""
    at_once, later = set[str](), set[str]()
    for name in room:
        place = _PROJECT / name.replace(".", "/")
        for file in [place.with_suffix(".py")] if place.with_suffix(".py").is_file() else place.rglob("*.py"):
            tree = ast.parse(file.read_text())
            at_once |= set(_imported(tree.body))
            later |= set(_imported(ast.walk(tree)))
    return {library: _FULL if library in at_once else _HOLLOW for library in _LIBRARIES if library in at_once | later}


def _imported(nodes: Any) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def draw(drawn: dict[str, Any]) -> Figure:
    """A tower of rooms; an import may only go down."""
    rooms = drawn["rooms"]
    figure = empty_figure(WIDTH, 0.24 * len(rooms) + 0.6)
    axes = figure.subplots()
    for number, (name, uses) in enumerate(rooms):
        colour = colour_of(0) if "deepspeed" in uses else EMPTY
        axes.add_patch(Rectangle((0, -number - 0.95), 4.4, 0.9, facecolor=colour, edgecolor=GREY, linewidth=0.6))
        axes.text(2.2, -number - 0.5, name, fontsize=SMALL, color=INK, ha="center", va="center")
        for column, library in enumerate(_LIBRARIES):
            place = (5.2 + column, -number - 0.5)
            axes.text(*place, uses.get(library, ""), fontsize=SMALL, color=INK, ha="center", va="center")
    for column, library in enumerate(_LIBRARIES):
        axes.text(5.2 + column, 0.45, library, fontsize=SMALL, color=INK, ha="center", va="center")
    told = f"imports run downward; {_FULL} imports a library at once, {_HOLLOW} only where a function needs it"
    frame(axes, told, -0.05, 5.2 + len(_LIBRARIES) - 0.4, -len(rooms) - 0.1, 1)
    return figure
