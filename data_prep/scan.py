"""Read every token of a shard: check that the vocabulary has it, count it, and hash each document."""

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
    """Counts of tokens in some documents, of shape (vocab,): `counts` of all, `edges` of the first and last ones."""

    counts: Counts
    edges: Counts

    @classmethod
    def none(cls, vocab_size: int) -> Self:
        """The tally of no documents."""
        return cls(np.zeros(vocab_size, np.int64), np.zeros(vocab_size, np.int64))

    def __add__(self, other: Self) -> Self:
        return type(self)(self.counts + other.counts, self.edges + other.edges)

    def __sub__(self, other: Self) -> Self:
        return type(self)(self.counts - other.counts, self.edges - other.edges)


@dataclass(frozen=True)
class Scan:
    """The facts that reading a whole shard gives.

    `hashes`, shape (documents, 2), has the 128-bit hash of each document's tokens. It does not depend on the tokens'
    type. `xxh3` is the hash of the file. `unended` counts documents without an end-of-document token at their end.
    """

    tally: Tally
    hashes: npt.NDArray[np.uint64]
    xxh3: str
    unended: int


def scan(shard: ForeignShard, vocab_size: int, end: int, advance: Callable[[int], None]) -> Scan:
    """Read a shard block by block.

    Args:
        shard: the shard to read.
        vocab_size: all ids must be below it.
        end: the id of the end-of-document token.
        advance: called after each block with the number of its bytes.
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
    """Count the tokens of the chosen documents of a shard, block by block."""
    tokens, counts = shard.tokens, np.zeros(vocab_size, np.int64)
    starts, ends = shard.starts[chosen], shard.ends[chosen]
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        for first in range(start, end, BLOCK_TOKENS):
            counts += np.bincount(tokens[first : min(first + BLOCK_TOKENS, end)], minlength=vocab_size)
    return Tally(counts, _edges(tokens, starts, ends, vocab_size))


def _edges(tokens: Tokens, starts: Places, ends: Places, vocab_size: int) -> Counts:
    """How often each token is the first or last of a document. A document's only token is counted once."""
    edges = np.concatenate([tokens[starts], tokens[ends[ends - starts > 1] - 1]])
    return np.bincount(edges, minlength=vocab_size)


def _beyond(shard: ForeignShard, block: Tokens, first: int, vocab_size: int) -> DataError:
    """The error for a block with a token that is not in the vocabulary. It names the first such token."""
    place = int(np.flatnonzero((block < 0) | (block >= vocab_size))[0])
    document = int(np.searchsorted(shard.ends, first + place, side="right"))
    return DataError(
        f"{shard.path}: document {document:,} (from 0, without empty ones) holds the id {int(block[place]):,}, but the "
        f"tokenizer has {vocab_size:,} tokens: give as --tokenizer the one that the shards were made with"
    )
