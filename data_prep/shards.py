"""Read Megatron's `.bin/.idx` files: the tokens of a split's documents end to end, and an index of their places.

megatron-core writes and checks these files (`indexed.py`). Training reads them with the reader here. It does not import
torch, and it looks up a whole batch at once. megatron-core's reader gives one document after the other.

The index has a header. Then come the lengths of all documents in tokens (int32), and the first byte of each in `.bin`
(int64). The numbers of the documents, and one more, are at the end (int64).
"""

import mmap
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from data_prep import files
from data_prep.errors import DataError

HEADER = struct.Struct("<9sQBQQ")  # magic, version, type of a token, sequences, documents and one
MAGIC = b"MMIDIDX\0\0"
TokenType: TypeAlias = type[np.uint8 | np.int8 | np.int16 | np.int32 | np.int64 | np.uint16]
TOKEN_TYPES: dict[int, TokenType] = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}
"""The integer types of Megatron, by their codes. `apollo-prep build` writes uint16 and int32."""


@dataclass(frozen=True)
class Shard:
    """A file of tokens and an index, mapped into memory. Nothing is read before it is used.

    `tokens` has shape (tokens,) and one of `TOKEN_TYPES`. The index may list only some of them. `lengths` (in tokens,
    int32) and `first_bytes` (places in the file, int64) have shape (documents,).
    """

    tokens: npt.NDArray[Any]
    lengths: npt.NDArray[np.int32]
    first_bytes: npt.NDArray[np.int64]

    @classmethod
    def open(cls, index: Path, tokens: Path) -> Self:
        """Map two files into memory. Check them with `verify` first.

        Raises:
            DataError: the two files do not belong together, for example if one is cut short.
        """
        try:
            count, dtype = _read_header(index)
            listed = _map(index)
            lengths = np.frombuffer(listed, np.int32, count, HEADER.size)
            first_bytes = np.frombuffer(listed, np.int64, count, HEADER.size + lengths.nbytes)
            size = int(first_bytes[-1]) + int(lengths[-1]) * np.dtype(dtype).itemsize
            if tokens.stat().st_size < size:
                raise ValueError("an index of other tokens")
        except (FileNotFoundError, ValueError):
            raise DataError(
                f"{index}: missing, damaged, or not of {tokens}: restore both, or remove {index.parent} and make it "
                "again"
            ) from None
        content = _map(tokens)
        content.madvise(mmap.MADV_RANDOM)  # windows are read at random: reading ahead would cost a hundredfold
        # Plain arrays slice faster than mapped ones.
        return cls(np.frombuffer(content, dtype), lengths, first_bytes)

    @property
    def first_tokens(self) -> npt.NDArray[np.int64]:
        """The place in `tokens` where each document starts, shape (documents,)."""
        return self.first_bytes // self.tokens.itemsize

    @property
    def end(self) -> int:
        """The place in `tokens` where the last document ends."""
        return int(self.first_bytes[-1]) // self.tokens.itemsize + int(self.lengths[-1])


class Shards:
    """The documents of several shards, as one stream of tokens.

    `lengths`, in tokens (int32), has shape (documents,).
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = shards
        ends = np.cumsum([shard.end for shard in shards], dtype=np.int64)
        self._starts = ends - [shard.end for shard in shards]
        self.lengths = shards[0].lengths if len(shards) == 1 else np.concatenate([shard.lengths for shard in shards])

    @classmethod
    def open(cls, pairs: Iterable[tuple[Path, Path]]) -> Self:
        """Map shards into memory. A pair is the path of an index and the path of its tokens.

        Raises:
            DataError: an index and its tokens do not belong together.
        """
        files.raise_limit()  # a mapped file stays open
        return cls([Shard.open(index, tokens) for index, tokens in pairs])

    @property
    def first_tokens(self) -> npt.NDArray[np.int64]:
        """The place in the stream where each document starts, shape (documents,)."""
        placed = zip(self._shards, self._starts.tolist(), strict=True)
        return np.concatenate([shard.first_tokens + start for shard, start in placed])

    def read(self, first_tokens: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The tokens of pieces, joined in order. A piece lies within one document.

        `first_tokens` has the place of each piece in the stream, and `lengths` its tokens, both of shape (pieces,).
        """
        # One copy for each piece is faster than one index for each token, which takes four times a token's memory.
        if len(self._shards) == 1:
            tokens = self._shards[0].tokens
            pieces = zip(first_tokens.tolist(), (first_tokens + lengths).tolist(), strict=True)
            return np.concatenate([tokens[start:end] for start, end in pieces])
        shards = np.searchsorted(self._starts, first_tokens, side="right") - 1
        inside = first_tokens - self._starts[shards]
        placed = zip(shards.tolist(), inside.tolist(), (inside + lengths).tolist(), strict=True)
        return np.concatenate([self._shards[shard].tokens[start:end] for shard, start, end in placed])


def index_bytes(sequences: int, documents: int) -> int:
    """The size of an index in bytes. `documents` is the number of documents plus one, as in the header."""
    return HEADER.size + sequences * (4 + 8) + documents * 8


def write_index(
    path: Path, dtype: TokenType, lengths: npt.NDArray[np.int64], first_bytes: npt.NDArray[np.int64]
) -> None:
    """Write an index in one step. Its documents may lie anywhere in their file of tokens.

    Args:
        path: where to write.
        dtype: the type of a token.
        lengths: the length of each document in tokens, shape (documents,).
        first_bytes: the first byte of each document in the file of tokens, shape (documents,).
    """
    (code,) = (code for code, known in TOKEN_TYPES.items() if known is dtype)
    with files.replacing(path) as unfinished, unfinished.open("wb") as file:
        file.write(HEADER.pack(MAGIC, 1, code, len(lengths), len(lengths) + 1))
        for numbers in (lengths.astype("<i4"), first_bytes.astype("<i8"), np.arange(len(lengths) + 1, dtype="<i8")):
            file.write(numbers.data)


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _read_header(index: Path) -> tuple[int, TokenType]:
    """The number of documents and the type of a token.

    Raises:
        ValueError: the file is not an index, or its size does not fit its header.
    """
    with index.open("rb") as file:
        header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        raise ValueError("cut short")
    magic, version, token_type, count, more = HEADER.unpack(header)
    size = index_bytes(count, count + 1)
    if (magic, version, more) != (MAGIC, 1, count + 1) or count < 1 or index.stat().st_size != size:
        raise ValueError("not an index")
    if token_type not in TOKEN_TYPES:
        raise ValueError("not a type of tokens")
    return count, TOKEN_TYPES[token_type]
