"""Find each element of the state in a checkpoint's files. The header of each file describes its part, and is read once.

Nothing here imports torch.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from apollo_ds.checkpoint.manifest import DamagedCheckpoint
from apollo_ds.growth.counters import COHORT, MOMENTS, WEIGHT
from data_prep.files import hash_of_values

_TENSORS = (WEIGHT, *MOMENTS, COHORT)
_FORMATS = {WEIGHT: ("F32", 4), **dict.fromkeys(MOMENTS, ("F32", 4)), COHORT: ("U8", 1)}
"""For each kind of tensor: the number format by its name in safetensors, and the bytes of an element."""
_SIZE_BYTES = 8
_ABSENT = -1

Shapes = dict[str, tuple[int, ...]]
"""Name and full shape of each parameter, in the model's order."""
_Numbers = NDArray[np.int64]


class FilePart(NamedTuple):
    """What a rank's file holds: a slice of each flattened parameter, which may be empty."""

    state: str
    """A hash of the parameters' names and shapes in order. All files of one checkpoint have the same."""
    starts: _Numbers
    """Shape (parameters,): the first element of the file's slice of each parameter."""
    lengths: _Numbers
    """Shape (parameters,): the number of elements of each slice."""
    offsets: _Numbers
    """Shape (parameters, 4): the byte of the file where the weight, the two moments and the cohorts of each slice
    begin;
    -1 for a tensor that the slice does not have."""


class Piece(NamedTuple):
    """Neighbouring elements of a tensor that lie in one file."""

    file: str
    byte: int
    """The byte of the file where they begin."""
    start: int
    """The index of the first element in the flattened tensor."""
    length: int


def read_header(path: Path) -> tuple[Shapes, FilePart]:
    """Read the header of a rank's file, which has the format of safetensors.

    Raises:
        DamagedCheckpoint: the file is not such a file, or cannot be read.
    """
    try:
        entries, metadata, first_byte = read_entries(path)
        return _parsed(json.loads(metadata["slices"]), entries, first_byte)
    except (OSError, TypeError, ValueError, KeyError, AttributeError, RecursionError, OverflowError):
        raise DamagedCheckpoint(f"{path}: not a file of a checkpoint") from None


def read_entries(path: Path) -> tuple[dict[str, Any], dict[str, str], int]:
    """Read the header of a safetensors file.

    Returns:
        The entry of each tensor by name, the file's metadata, and the first byte after the header.
    Raises:
        OSError: the file cannot be read.
        ValueError, TypeError, KeyError, AttributeError, RecursionError: the header is damaged, or the tensors do not
            fill the file.
    """
    with path.open("rb") as file:
        size, whole = int.from_bytes(file.read(_SIZE_BYTES), "little"), path.stat().st_size
        if size > whole:
            raise ValueError(size)
        entries = json.loads(file.read(size))
    metadata = entries.pop("__metadata__", {})
    borders = [0, *sorted(border for entry in entries.values() for border in entry["data_offsets"])]
    if borders[1::2] != borders[:-1:2] or borders[-1] != whole - _SIZE_BYTES - size:
        raise ValueError("gaps, or bytes too many or too few")
    return entries, metadata, _SIZE_BYTES + size


def _parsed(slices: dict[str, Any], entries: dict[str, Any], first_byte: int) -> tuple[Shapes, FilePart]:
    shapes = {name: tuple(map(int, part["shape"])) for name, part in slices.items()}
    if not all(type(part["start"]) is int for part in slices.values()):
        raise TypeError("start")
    starts = np.array([part["start"] for part in slices.values()], dtype=np.int64)
    lengths = np.array([prod(entries[f"{name}/{WEIGHT}"]["shape"]) for name in shapes], dtype=np.int64)
    offsets = np.full((len(shapes), len(_TENSORS)), _ABSENT, dtype=np.int64)
    numbers = {name: number for number, name in enumerate(shapes)}
    for key, entry in entries.items():
        name, _, tensor = key.rpartition("/")
        (begin, end), (dtype, width) = entry["data_offsets"], _FORMATS[tensor]
        if entry["dtype"] != dtype or end - begin != lengths[numbers[name]] * width:
            raise ValueError(key)
        offsets[numbers[name], _TENSORS.index(tensor)] = first_byte + begin
    return shapes, FilePart(hash_of_values({"parameters": list(shapes.items())}), starts, lengths, offsets)


@dataclass(frozen=True)
class Index:
    """The places of all elements of a state in the files of a checkpoint."""

    files: Sequence[str]
    shapes: Shapes
    parts: Sequence[FilePart]
    """The part of each file."""

    @classmethod
    def read(cls, checkpoint: Path, files: Sequence[str]) -> Self:
        """Read the headers of all files of a checkpoint. `check` tells whether they fit together.

        Raises:
            DamagedCheckpoint: a header is damaged, or a file cannot be read.
        """
        headers = [read_header(checkpoint / file) for file in files]
        return cls(files, headers[0][0], [part for _, part in headers])

    def pieces(self, name: str, tensor: str, start: int, length: int) -> Iterator[Piece]:
        """The pieces of files that hold these elements of a flattened tensor.

        There are none for the moments of a parameter that did not train.

        Raises:
            KeyError: the state has no such parameter.
        """
        number, kind = self._numbers[name], _TENSORS.index(tensor)
        starts, offsets = self._starts[:, number], self._offsets[:, number, kind]
        begins = np.maximum(starts, start)
        lengths = np.minimum(starts + self._lengths[:, number], start + length) - begins
        for file in np.flatnonzero((lengths > 0) & (offsets != _ABSENT)).tolist():
            byte = int(offsets[file]) + int(begins[file] - starts[file]) * _FORMATS[tensor][1]
            yield Piece(self.files[file], byte, int(begins[file]), int(lengths[file]))

    def check(self, checkpoint: Path) -> None:
        """Check that the files together hold each element of every tensor exactly once.

        Raises:
            DamagedCheckpoint: the files are of different states, or an element is in no file or in two. (Moments of a
                parameter that did not train are in no file.)
        """
        if any(part.state != self.parts[0].state for part in self.parts):
            raise DamagedCheckpoint(f"{checkpoint}: its files are not of one state")
        if not self.shapes:
            raise DamagedCheckpoint(f"{checkpoint}: lacks a part of the model")
        for number, (name, shape) in enumerate(self.shapes.items()):
            starts, lengths = self._starts[:, number], self._lengths[:, number]
            for kind, tensor in enumerate(_TENSORS):
                has = (self._offsets[:, number, kind] != _ABSENT) & (lengths > 0)
                if (has.any() or tensor == WEIGHT) and not _tile(starts[has], lengths[has], prod(shape)):
                    raise DamagedCheckpoint(f"{checkpoint}: lacks a part of {name}")

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.shapes)}

    @cached_property
    def _starts(self) -> _Numbers:
        return np.stack([part.starts for part in self.parts])

    @cached_property
    def _lengths(self) -> _Numbers:
        return np.stack([part.lengths for part in self.parts])

    @cached_property
    def _offsets(self) -> _Numbers:
        return np.stack([part.offsets for part in self.parts])


def _tile(starts: _Numbers, lengths: _Numbers, size: int) -> bool:
    order = np.argsort(starts)
    ends = np.cumsum(lengths[order])
    return int(lengths.sum()) == size and bool((starts[order] == ends - lengths[order]).all())
