"""A look at every token of a shard: is it in the vocabulary, how often is it there, and which documents are equal?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import xxhash

from data_prep.errors import DataError
from data_prep.foreign import ForeignShard, Places

BLOCK_TOKENS = 1 << 22

Counts = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Tally:
    """How often each token is in some documents, and how often as the first or last of one, both of shape (vocab,)."""

    counts: Counts
    edges: Counts

    @classmethod
    def none(cls, vocab_size: int) -> Self:
        """That of no documents."""
        return cls(np.zeros(vocab_size, np.int64), np.zeros(vocab_size, np.int64))

    def __add__(self, other: Self) -> Self:
        return type(self)(self.counts + other.counts, self.edges + other.edges)

    def __sub__(self, other: Self) -> Self:
        return type(self)(self.counts - other.counts, self.edges - other.edges)


@dataclass(frozen=True)
class Scan:
    """What is known of a shard once it has been read.

    `hashes`, shape (documents, 2), are the 128 bits of the hash of each document's tokens, whatever their type. `xxh3`
    is that of the file. `unended` documents do not end with the end-of-document token.
    """

    tally: Tally
    hashes: npt.NDArray[np.uint64]
    xxh3: str
    unended: int


def scan(shard: ForeignShard, vocab_size: int, end: int, advance: Callable[[int], None]) -> Scan:
    """Read a shard by blocks.

    Args:
        shard: where the tokens are.
        vocab_size: ids are below it.
        end: the id of the end-of-document token.
        advance: called with the bytes of each block that was read.
    Raises:
        DataError: a token is not in the vocabulary.
    """
    tokens, file_hash, document_hash = shard.tokens, xxhash.xxh3_64(), xxhash.xxh3_128()
    counts, digests, document = np.zeros(vocab_size, np.int64), bytearray(), 0
    for first in range(0, len(tokens), BLOCK_TOKENS):
        block = np.asarray(tokens[first : first + BLOCK_TOKENS])
        file_hash.update(block.data)
        if block.min() < 0 or block.max() >= vocab_size:
            raise _beyond(shard, block, first, vocab_size)
        counts += np.bincount(block, minlength=vocab_size)
        ids, place = block.astype("<i4"), 0
        stop = int(np.searchsorted(shard.ends, first + len(block), side="right"))
        for here in (shard.ends[document:stop] - first).tolist():
            document_hash.update(ids[place:here].data)
            digests += document_hash.digest()
            document_hash.reset()
            place = here
        document_hash.update(ids[place:].data)
        document = stop
        advance(block.nbytes)
    last = tokens[shard.ends - 1]
    tally = Tally(counts, _edges(tokens, shard.starts, shard.ends, vocab_size))
    hashes = np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
    return Scan(tally, hashes, file_hash.hexdigest(), int((last != end).sum()))


def tally_of(shard: ForeignShard, chosen: npt.NDArray[np.bool_], vocab_size: int) -> Tally:
    """Count the tokens of the chosen documents of a shard, by blocks."""
    tokens, counts = shard.tokens, np.zeros(vocab_size, np.int64)
    starts, ends = shard.starts[chosen], shard.ends[chosen]
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        for first in range(start, end, BLOCK_TOKENS):
            counts += np.bincount(tokens[first : min(first + BLOCK_TOKENS, end)], minlength=vocab_size)
    return Tally(counts, _edges(tokens, starts, ends, vocab_size))


def _edges(tokens: Tokens, starts: Places, ends: Places, vocab_size: int) -> Counts:
    """How often each token is the first or the last of a document; the only token of one is counted once."""
    edges = np.concatenate([tokens[starts], tokens[ends[ends - starts > 1] - 1]])
    return np.bincount(edges, minlength=vocab_size)


def _beyond(shard: ForeignShard, block: Tokens, first: int, vocab_size: int) -> DataError:
    """The error of a block with a token that is not in the vocabulary; names the first one."""
    place = int(np.flatnonzero((block < 0) | (block >= vocab_size))[0])
    document = int(np.searchsorted(shard.ends, first + place, side="right"))
    return DataError(
        f"{shard.path}: document {document:,} (from 0, without empty ones) holds the id {int(block[place]):,}, and the "
        f"tokenizer has {vocab_size:,} tokens: it was probably made with another one: give that as --tokenizer"
    )
