"""Read a checkpoint. The number of ranks may differ from the number that wrote it."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self, cast

import torch
from torch import Tensor

from apollo_ds.checkpoint.find import Sound
from apollo_ds.checkpoint.index import Piece
from apollo_ds.errors import UserError
from apollo_ds.growth.counters import WEIGHT, Counters
from apollo_ds.growth.state import Shape, dtype_of
from data_prep.files import raise_limit

_ELEMENTS_AT_ONCE = 1 << 24
"""The most elements that are read at a time for a device other than the CPU."""


class SavedState:
    """A state on disk. Any number of ranks can read it, each by itself, whatever number wrote it.

    A file is opened when something in it is first read, and stays open until the state is closed.
    """

    def __init__(self, sound: Sound) -> None:
        """Read from a checkpoint that has been verified."""
        self.folder, self.manifest, self._index = sound.folder, sound.manifest, sound.index
        self.counters = self.manifest.counters
        self.bytes_read = 0
        """Bytes that have been read so far from all files."""
        self._open: dict[str, BinaryIO] = {}

    def hold(self) -> Self:
        """Open all files now, so that they can be read even if a run removes the checkpoint meanwhile. Returns itself.

        Raises:
            UserError: a file is missing, or the limit on open files is too low.
        """
        raise_limit()  # a checkpoint of many ranks has as many files
        try:
            for file in self._index.files:
                self._opened(file)
        except UserError:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Close the files."""
        while self._open:
            self._open.popitem()[1].close()

    def names(self) -> Iterator[str]:
        """Every parameter in the checkpoint."""
        return iter(self._index.shapes)

    def shape(self, name: str) -> Shape:
        """The shape of a whole parameter."""
        return self._index.shapes[name]

    def gather(self, name: str, tensor: str, device: torch.device) -> Tensor:
        """A parameter's whole tensor, read from the files onto a device.

        Raises:
            UserError: a file cannot be read.
        """
        whole = torch.empty(torch.Size(self.shape(name)).numel(), dtype=dtype_of(tensor))
        self.read_into(name, tensor, 0, whole)
        return whole.view(self.shape(name)).to(device)

    def read_into(self, name: str, tensor: str, start: int, target: Tensor) -> None:
        """Read a part of a flat tensor, from element `start` on, into `target`.

        Raises:
            UserError: a file cannot be read.
        """
        pieces = list(self._index.pieces(name, tensor, start, len(target)))
        if sum(piece.length for piece in pieces) < len(target):
            target.zero_()
        for piece in pieces:
            self._read(piece, target.narrow(0, piece.start - start, piece.length))

    def release(self, name: str, tensor: str) -> None:
        """Do nothing: the files are not in memory."""

    def _read(self, piece: Piece, target: Tensor) -> None:
        """Read by `readinto`. The pages of a mapped file would count as this rank's memory."""
        try:
            file = self._opened(piece.file)
            file.seek(piece.byte)
            for part in target.split(len(target) if target.device.type == "cpu" else _ELEMENTS_AT_ONCE):
                on_cpu = part if part.device.type == "cpu" else torch.empty_like(part, device="cpu")
                self.bytes_read += _read_fully(file, memoryview(on_cpu.numpy().data).cast("B"))
                if on_cpu is not part:
                    part.copy_(on_cpu)
        except OSError as error:
            raise _unreadable(self.folder / piece.file, error) from None

    def _opened(self, name: str) -> BinaryIO:
        if name not in self._open:
            try:
                self._open[name] = cast(BinaryIO, (self.folder / name).open("rb", buffering=0))
            except OSError as error:
                raise _unreadable(self.folder / name, error) from None
        return self._open[name]


class WeightsOnly:
    """The weights of a saved state with a fresh optimizer: its moments and counters are zero."""

    def __init__(self, state: SavedState) -> None:
        self.counters = Counters(optimizer=None)
        self._state = state
        self.names, self.shape, self.release, self.close = state.names, state.shape, state.release, state.close

    def gather(self, name: str, tensor: str, device: torch.device) -> Tensor:
        """A parameter's whole tensor, read from the files onto a device.

        Raises:
            UserError: a file cannot be read.
        """
        if tensor == WEIGHT:
            return self._state.gather(name, tensor, device)
        return torch.zeros(self.shape(name), dtype=dtype_of(tensor), device=device)

    def read_into(self, name: str, tensor: str, start: int, target: Tensor) -> None:
        """Read a part of a flat tensor, from element `start` on, into `target`.

        Raises:
            UserError: a file cannot be read.
        """
        if tensor == WEIGHT:
            self._state.read_into(name, tensor, start, target)
        else:
            target.zero_()


def _unreadable(path: Path, error: OSError) -> UserError:
    if error.errno == errno.EMFILE:
        return UserError(f"{path}: is one file too many to open; raise the limit, hard limit included: `ulimit -n`")
    return UserError(f"{path}: cannot be read ({error.strerror or error}); run the same command again")


def _read_fully(file: BinaryIO, target: memoryview) -> int:
    """Fill the target, and return its bytes. A target of more than 2 GiB takes several reads."""
    done = 0
    while done < len(target):
        count = file.readinto(target[done:])  # type: ignore[attr-defined]
        if not count:
            raise OSError("it ends too early")
        done += count
    return done
