"""docs/concepts/checkpoints.png: which part of which file each rank reads, where another number of ranks goes on.

`partitions.json` has what the headers of the rank files of two checkpoints say, of the same model on two and three
ranks. `python docs/site/drawn/checkpoints.py CHECKPOINT CHECKPOINT` writes it anew from two folders. They were made by

    apollo-ds train demo model.num_layers=2 method=scratch steps=2 eval_every=2 eval_samples=12 \
        global_batch_size=12 micro_batch_size=4 --ranks RANKS
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from apollo_ds.checkpoint.index import FilePart, Index
from apollo_ds.checkpoint.manifest import rank_file, read_manifest
from apollo_ds.growth.counters import WEIGHT
from data_prep.figure_style import GREY, INK, SMALL, WIDTH, empty_figure
from drawn.cells import EMPTY, colour_of, frame

_RECORD = Path(__file__).with_name("partitions.json")


def record(*checkpoints: Path) -> None:
    """Write down which elements of each parameter are in which file."""
    found = {}
    for checkpoint in checkpoints:
        files = list(read_manifest(checkpoint).files)
        index = Index.read(checkpoint, files)
        index.check(checkpoint)
        parts = [{"starts": part.starts.tolist(), "lengths": part.lengths.tolist()} for part in index.parts]
        found[str(len(files))] = {"shapes": index.shapes, "parts": parts}
    _RECORD.write_text(json.dumps(found, indent=None) + "\n")


def _index(recorded: dict[str, Any]) -> Index:
    shapes = {name: tuple(shape) for name, shape in recorded["shapes"].items()}
    parts = [
        FilePart("", np.array(part["starts"]), np.array(part["lengths"]), np.zeros((len(shapes), 4), dtype=np.int64))
        for part in recorded["parts"]
    ]
    return Index([rank_file(rank) for rank in range(len(parts))], shapes, parts)


def facts() -> dict[str, Any]:
    """Of each reader and parameter, the elements that it reads and their file, as `Index.pieces` finds them."""
    records = json.loads(_RECORD.read_text())
    written, readers = _index(records["2"]), _index(records["3"])
    reads = [
        [
            [(piece.file, piece.start, piece.length) for piece in written.pieces(name, WEIGHT, int(start), int(length))]
            for name, start, length in zip(readers.shapes, part.starts, part.lengths, strict=True)
        ]
        for part in readers.parts
    ]
    return {"sizes": {name: int(np.prod(shape)) for name, shape in written.shapes.items()}, "reads": reads}


def draw(drawn: dict[str, Any]) -> Figure:
    """All matrices of the model end to end: what they are, which file has them, and which rank reads them."""
    figure = empty_figure(WIDTH, 1.9)
    axes = figure.subplots()
    matrices = [name for name, size in drawn["sizes"].items() if name.endswith("weight") and ".ln_" not in name]
    sizes = {name: drawn["sizes"][name] for name in matrices}
    begins = dict(zip(sizes, np.cumsum([0, *sizes.values()])[:-1].tolist(), strict=True))
    whole = sum(sizes.values())
    for part in dict.fromkeys(map(_part_of, sizes)):
        inside = [name for name in sizes if _part_of(name) == part]
        _box(axes, 2, begins[inside[0]], sum(sizes[name] for name in inside), EMPTY, part if len(inside) > 1 else "")
    embedding = matrices[0]
    axes.text(sizes[embedding] / 2, 2.4, "token embedding", fontsize=SMALL, color=INK, ha="center", va="center")
    written: dict[str, list[int]] = {}
    for rank, parameters in enumerate(drawn["reads"]):
        read: dict[str, list[int]] = {}
        for name, pieces in zip(drawn["sizes"], parameters, strict=True):
            for file, start, length in pieces if name in sizes else ():
                for found in (read, written):
                    found.setdefault(file, []).extend((begins[name] + start, begins[name] + start + length))
        for file, ends in read.items():
            _box(axes, 0, min(ends), max(ends) - min(ends), colour_of(_number(file)), f"rank {rank}")
    for file, ends in written.items():
        _box(axes, 1, min(ends), max(ends) - min(ends), colour_of(_number(file)), file)
    for height, name in enumerate(("3 ranks read", "2 ranks wrote", "the matrices")):
        axes.text(-0.01 * whole, height + 0.4, name, fontsize=SMALL, color=INK, ha="right", va="center")
    frame(axes, "A checkpoint of two ranks, read by three", -0.13 * whole, whole * 1.001, -0.1, 3)
    return figure


def _part_of(name: str) -> str:
    words = name.split(".")
    return f"layer {words[3]}" if words[2] == "h" else words[2]


def _number(file: str) -> int:
    return int(file.removeprefix("rank-").removesuffix(".safetensors"))


def _box(axes: Axes, bottom: float, start: float, length: float, colour: str, text: str) -> None:
    axes.add_patch(Rectangle((start, bottom), length, 0.8, facecolor=colour, edgecolor=GREY, linewidth=0.8))
    axes.text(start + length / 2, bottom + 0.4, text, fontsize=SMALL, color=INK, ha="center", va="center")


if __name__ == "__main__":
    record(*map(Path, sys.argv[1:]))
