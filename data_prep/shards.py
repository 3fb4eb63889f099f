"""Megatron's `.bin/.idx`: the tokens of a split's documents end to end, and an index of where each one is.

megatron-core reads these files unchanged, which the tests check; its own reader and writer are not used because
they import torch and half of Megatron, seconds of every start. The index is a header, then for each document its
length in tokens (int32) and its first byte in `.bin` (int64), then the numbers of the documents and one more (int64).
"""

import mmap
import struct
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from data_prep import files
from data_prep.encode import token_dtype

HEADER = struct.Struct("<9sQBQQ")  # magic, version, type of a token, sequences, documents and one
MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
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


class ShardWriter:
    """Writes a split, one document after the other."""

    def __init__(self, prefix: Path, vocab_size: int) -> None:
        self.prefix = prefix
        self.dtype = token_dtype(vocab_size)
        self.lengths = array("i")
        self.bin = prefix.with_suffix(".bin").open("wb")

    def add(self, tokens: npt.NDArray[Any], ends: npt.NDArray[np.int64], copies: npt.NDArray[np.int64]) -> None:
        """Write the documents of a part, each as often as `copies` says; `ends` are their ends in `tokens`."""
        starts = np.concatenate([[0], ends[:-1]])
        chosen = np.repeat(np.arange(len(ends)), copies)
        for start, end in zip(starts[chosen].tolist(), ends[chosen].tolist(), strict=True):
            self.bin.write(tokens[start:end].astype(self.dtype, copy=False).data)
            self.lengths.append(end - start)

    def close(self) -> dict[str, Any]:
        """Write the index and return the split's entry in the manifest."""
        self.bin.close()
        self.write_index()
        paths = [self.prefix.with_suffix(suffix) for suffix in (".bin", ".idx")]
        return {
            "documents": len(self.lengths),
            "tokens": sum(self.lengths),
            "files": {path.name: files.describe(path) for path in paths},
        }

    def write_index(self) -> None:
        """Write where each document is."""
        lengths = np.frombuffer(self.lengths, dtype=np.int32)
        ends = np.cumsum(lengths, dtype=np.int64)
        token_type = next(code for code, dtype in TOKEN_TYPES.items() if dtype is self.dtype)
        with self.prefix.with_suffix(".idx").open("wb") as file:
            file.write(HEADER.pack(MAGIC, VERSION, token_type, len(lengths), len(lengths) + 1))
            file.write(lengths.data)
            file.write(((ends - lengths) * np.dtype(self.dtype).itemsize).data)
            file.write(np.arange(len(lengths) + 1, dtype=np.int64).data)
