"""Megatron's `.bin/.idx`: the tokens of a split's documents end to end, and an index of where each one is.

megatron-core writes and checks these files (`indexed.py`). Training maps them by the reader here, which imports no
torch and gives whole arrays: batches are looked up at once, where megatron-core's reader gives document by document.
The index is a header, then for each document its length in tokens (int32) and its first byte in `.bin` (int64), then
the numbers of the documents and one more (int64).
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from data_prep.errors import DataError

HEADER = struct.Struct("<9sQBQQ")  # magic, version, type of a token, sequences, documents and one
MAGIC = b"MMIDIDX\0\0"
TOKEN_TYPES: dict[int, type[np.uint16] | type[np.int32]] = {8: np.uint16, 4: np.int32}
_BYTES_A_DOCUMENT = 4 + 8 + 8


@dataclass(frozen=True)
class Shard:
    """A split, mapped into memory; nothing is read before it is used.

    `tokens` has shape (tokens,), uint16 or int32; `lengths` in tokens (int32) and `first_bytes` in `.bin` (int64)
    have shape (documents,).
    """

    tokens: npt.NDArray[Any]
    lengths: npt.NDArray[np.int32]
    first_bytes: npt.NDArray[np.int64]

    @classmethod
    def open(cls, prefix: Path) -> Self:
        """Map `PREFIX.bin` and `PREFIX.idx`, which `verify` has found to be sound.

        Raises:
            DataError: the two do not belong together, as where one is cut short.
        """
        index, tokens = prefix.with_suffix(".idx"), prefix.with_suffix(".bin")
        try:
            count, dtype = _read_header(index)
            lengths = np.memmap(index, np.int32, "r", HEADER.size, (count,))
            first_bytes = np.memmap(index, np.int64, "r", HEADER.size + lengths.nbytes, (count,))
            size = int(first_bytes[-1]) + int(lengths[-1]) * np.dtype(dtype).itemsize
            if tokens.stat().st_size != size:
                raise ValueError("an index of other tokens")
        except (FileNotFoundError, ValueError):
            raise DataError(
                f"{index}: missing, damaged, or not of {tokens.name}: restore both, or remove {prefix.parent} and "
                "build again"
            ) from None
        with tokens.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        content.madvise(mmap.MADV_RANDOM)  # a window at a time: reading ahead would bring in a hundred times as much
        # Plain arrays, which slice faster.
        return cls(np.frombuffer(content, dtype), np.asarray(lengths), np.asarray(first_bytes))

    @property
    def first_tokens(self) -> npt.NDArray[np.int64]:
        """Where each document starts in `tokens`, shape (documents,)."""
        return self.first_bytes // self.tokens.itemsize


def _read_header(index: Path) -> tuple[int, type[np.uint16] | type[np.int32]]:
    """The number of documents, one sequence each, and the type of a token.

    Raises:
        ValueError: the file is not an index of so many.
    """
    with index.open("rb") as file:
        header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        raise ValueError("cut short")
    magic, version, token_type, count, more = HEADER.unpack(header)
    size = HEADER.size + count * _BYTES_A_DOCUMENT + 8
    if (magic, version, more) != (MAGIC, 1, count + 1) or count < 1 or index.stat().st_size != size:
        raise ValueError("not an index")
    if token_type not in TOKEN_TYPES:
        raise ValueError("not a type of tokens")
    return count, TOKEN_TYPES[token_type]
