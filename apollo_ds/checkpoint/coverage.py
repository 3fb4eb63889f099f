"""Whether the ranks' slices in a checkpoint's files make up every tensor, each element once."""

import json
from collections import defaultdict
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

from apollo_ds.checkpoint.manifest import DamagedCheckpoint, Manifest
from apollo_ds.growth.counters import WEIGHT

_Pieces = dict[tuple[str, str], list[tuple[int, int]]]
"""Where in the flattened tensor the pieces of a parameter's tensor start, and their lengths."""


def check_coverage(checkpoint: Path, manifest: Manifest) -> None:
    """Read the headers of all files, whose hashes have been checked.

    Raises:
        DamagedCheckpoint: an element of a tensor is in no file or in two. (Moments of what did not train are in none.)
    """
    pieces: _Pieces = defaultdict(list)
    shapes: list[dict[str, list[int]]] = []
    for name in manifest.files:
        path = checkpoint / name
        try:
            shapes.append(_add_pieces(path, pieces))
        except (OSError, SafetensorError, TypeError, ValueError, KeyError, AttributeError):
            raise DamagedCheckpoint(f"{path}: not a file of a checkpoint") from None
    if any(shape != shapes[0] for shape in shapes):
        raise DamagedCheckpoint(f"{checkpoint}: its files are not of one state")
    whole = {name: prod(shape) for name, shape in shapes[0].items()}
    lacking = [name for name, size in whole.items() if not _tile(pieces[name, WEIGHT], size)]
    lacking += [
        name for (name, _), parts in pieces.items() if any(size for _, size in parts) and not _tile(parts, whole[name])
    ]
    if lacking or not shapes[0]:
        raise DamagedCheckpoint(f"{checkpoint}: lacks a part of {lacking[0] if lacking else 'the model'}")


def _add_pieces(path: Path, pieces: _Pieces) -> dict[str, list[int]]:
    """Note the pieces that a file holds; returns the full shapes of all parameters."""
    with safe_open(path, framework="np") as file:
        slices = json.loads(file.metadata()["slices"])
        for key in file.keys():  # noqa: SIM118 - not a dictionary
            name, _, tensor = key.rpartition("/")
            pieces[name, tensor].append((slices[name]["start"], prod(file.get_slice(key).get_shape())))
    return {name: part["shape"] for name, part in slices.items()}


def _tile(parts: list[tuple[int, int]], size: int) -> bool:
    end = 0
    for start, length in sorted(part for part in parts if part[1]):
        if start != end:
            return False
        end += length
    return end == size
