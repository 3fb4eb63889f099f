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

HEADER = struct.Struct("<9sQBQQ")  # magic, version, type of a token, sequences, documents and one
TOKEN_TYPES: dict[int, type[np.uint16] | type[np.int32]] = {8: np.uint16, 4: np.int32}


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
        """Map `PREFIX.bin` and `PREFIX.idx`, which `verify` has found to be sound."""
        path = prefix.with_suffix(".idx")
        with path.open("rb") as file:
            _, _, token_type, count, _ = HEADER.unpack(file.read(HEADER.size))
        lengths = np.memmap(path, np.int32, "r", HEADER.size, (count,))
        first_bytes = np.memmap(path, np.int64, "r", HEADER.size + lengths.nbytes, (count,))
        with prefix.with_suffix(".bin").open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        content.madvise(mmap.MADV_RANDOM)  # a window at a time: reading ahead would bring in a hundred times as much
        tokens = np.frombuffer(content, TOKEN_TYPES[token_type])
        return cls(tokens, np.asarray(lengths), np.asarray(first_bytes))  # plain arrays, which slice faster

    @property
    def first_tokens(self) -> npt.NDArray[np.int64]:
        """Where each document starts in `tokens`, shape (documents,)."""
        return self.first_bytes // self.tokens.itemsize
