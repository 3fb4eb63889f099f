"""A split as an endless stream of tokens: documents in an order that is shuffled each epoch, cut into shuffled blocks.

What stands at a position is a pure function of (text, seed, position). Whole batches are looked up at once.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from apollo_ds.errors import UserError
from apollo_ds.rng import Stream, permute, random_bits
from data_prep import files
from data_prep.errors import DataError
from data_prep.manifest import read_manifest
from data_prep.shards import Shards

_CACHED_FROM_DOCUMENTS = 1 << 20  # a million documents are put in order in a fifth of a second
_BLOCKS_AHEAD = 1 << 16

Integers = NDArray[np.int64]


class TokenStream:
    """A split's documents, shuffled anew each epoch and joined end to end.

    Raises:
        UserError: the split holds less than one block, or its files do not belong together.
    """

    def __init__(self, folder: Path, split: str, block: int, seed: int) -> None:
        self.prefix = folder / split
        try:
            self.pairs = read_manifest(folder).pairs(folder, split)
            self.shards = Shards.open(self.pairs)
        except DataError as error:
            raise UserError(f"data: {error}") from None
        self.block = block
        self.seed = seed
        tokens = int(self.shards.lengths.sum(dtype=np.int64))
        # One token beyond the last block is kept: a causal model's last target.
        self.blocks = (tokens - 1) // block
        if self.blocks < 1:
            raise UserError(
                f"data: {folder}: the {tokens} tokens of the split {split} do not fill one sample of {block}; "
                "lower seq_len, or prepare more text"
            )
        self._epoch: _Epoch | None = None

    @property
    def tokens_per_epoch(self) -> int:
        """Tokens that an epoch serves: whole blocks only."""
        return self.blocks * self.block

    def read(self, positions: Integers, length: int) -> Integers:
        """`length` tokens, at most a block and one, from each token position of the run, shape (positions, length)."""
        result = np.empty((len(positions), length), dtype=np.int64)
        for epoch, here, starts in self._by_epoch(positions):
            result[here] = self.shards.read(*epoch.pieces(starts, length)).reshape(-1, length)
        return result

    def read_in_documents(self, positions: Integers, length: int) -> tuple[Integers, Integers]:
        """The same, and the place of each token in its document's piece of these tokens, from 0, of the same shape."""
        tokens, places = (np.empty((len(positions), length), dtype=np.int64) for _ in range(2))
        for epoch, here, starts in self._by_epoch(positions):
            first_tokens, lengths = epoch.pieces(starts, length)
            tokens[here] = self.shards.read(first_tokens, lengths).reshape(-1, length)
            pieces_start = np.cumsum(lengths) - lengths
            places[here] = (np.arange(lengths.sum()) - np.repeat(pieces_start, lengths)).reshape(-1, length)
        return tokens, places

    def documents(self, positions: Integers, length: int) -> Integers:
        """The number, in the shards, of the document that each token of `read` is from, shape (positions, length)."""
        result = np.empty((len(positions), length), dtype=np.int64)
        for epoch, here, starts in self._by_epoch(positions):
            places, lengths = epoch.pieces(starts, length)
            numbers = np.searchsorted(self.shards.first_tokens, places, side="right") - 1
            result[here] = np.repeat(numbers, lengths).reshape(-1, length)
        return result

    def _by_epoch(self, positions: Integers) -> Iterator[tuple["_Epoch", NDArray[np.bool_], Integers]]:
        """For each epoch: which of the positions are in it, and where they are in its shuffled documents."""
        epochs, inside = np.divmod(positions, self.tokens_per_epoch)
        for number in np.unique(epochs):
            if self._epoch is None or self._epoch.number != number:
                self._epoch = _Epoch(self, int(number))
            here = epochs == number
            block, offset = np.divmod(inside[here], self.block)
            yield self._epoch, here, self._epoch.shuffled(block) * self.block + offset


class _Epoch:
    """One order of a stream's documents and blocks."""

    def __init__(self, stream: TokenStream, number: int) -> None:
        self.number = number
        self._stream = stream
        self._ends, self._shifts = _document_order(stream, number)
        self._ahead_from = 0
        self._ahead: Integers = np.empty(0, dtype=np.int64)

    def shuffled(self, blocks: Integers) -> Integers:
        """The blocks at the given positions of the epoch. The blocks that follow are cached."""
        first, last = int(blocks.min()), int(blocks.max())
        if not self._ahead_from <= first <= last < self._ahead_from + len(self._ahead):
            stop = min(max(last + 1, first + _BLOCKS_AHEAD), self._stream.blocks)
            size, seed = self._stream.blocks, self._stream.seed
            self._ahead = permute(np.arange(first, stop), size, seed, Stream.WINDOW_ORDER, self.number)
            self._ahead_from = first
        return self._ahead[blocks - self._ahead_from]

    def pieces(self, starts: Integers, length: int) -> tuple[Integers, Integers]:
        """The pieces, each of one document, that windows of the shuffled documents are made of, one after the other.

        Args:
            starts: where the windows start.
            length: tokens a window.
        Returns:
            Where in the shards each piece starts, and its length; those of a window sum up to `length`.
        """
        first = np.searchsorted(self._ends, starts, side="right")
        last = np.searchsorted(self._ends, starts + length - 1, side="right")
        counts = last - first + 1
        window = np.repeat(np.arange(len(starts)), counts)
        document = np.arange(len(window)) + np.repeat(first - np.cumsum(counts) + counts, counts)
        ends = window * length + np.minimum(self._ends[document] - starts[window], length)
        lengths = np.diff(ends, prepend=0)
        inside_window = ends - lengths - window * length
        return starts[window] + inside_window + self._shifts[document], lengths


def _document_order(stream: TokenStream, epoch: int) -> Integers:
    """An epoch's order of documents, shape (2, documents).

    For each document in order: where it ends in the shuffled stream, and how far in the shards its tokens are from
    their places in that stream. The order of many documents is kept beside them, where the folder can be written
    to, and mapped into memory, so that the ranks of a node share it.
    """
    documents = len(stream.shards.lengths)
    if documents < _CACHED_FROM_DOCUMENTS:
        return _shuffle_documents(stream, epoch)
    text = files.key([files.describe(index) for index, _ in stream.pairs])
    own = f"{stream.prefix.name}-seed{stream.seed}-"
    path = stream.prefix.parent / "cache" / f"{own}epoch{epoch}-{text}.order"
    with suppress(OSError, ValueError):  # absent, or damaged
        return _load_order(path, documents)
    order = _shuffle_documents(stream, epoch)
    with suppress(OSError, ValueError):  # a folder that cannot be written to
        path.parent.mkdir(exist_ok=True)
        with files.replacing(path) as unfinished, unfinished.open("wb") as file:
            file.write(order.data)
            file.write(_hash(order))
        for other in path.parent.glob(f"{own}*"):
            if other != path:
                other.unlink(missing_ok=True)
        return _load_order(path, documents)
    return order


def _load_order(path: Path, documents: int) -> Integers:
    """Map an order that was kept; the last 8 bytes of its file are the hash of the others.

    Raises:
        OSError: it is not there.
        ValueError: it is damaged.
    """
    content = np.memmap(path, np.int64, "r")
    if len(content) != 2 * documents + 1 or _hash(content[:-1]) != content[-1:].tobytes():
        raise ValueError("differs from its hash")
    return content[:-1].reshape(2, documents)


def _hash(numbers: Integers) -> bytes:
    return xxhash.xxh3_64_digest(numbers.data)


def _shuffle_documents(stream: TokenStream, epoch: int) -> Integers:
    keys = random_bits(stream.seed, Stream.DOCUMENT_ORDER, epoch, np.arange(len(stream.shards.lengths)))
    order = np.argsort(keys)  # no two keys are equal
    lengths = stream.shards.lengths[order]
    ends = np.cumsum(lengths, dtype=np.int64)
    return np.stack([ends, stream.shards.first_tokens[order] - (ends - lengths)])
