"""Read a split as an endless stream of tokens: each epoch shuffles the documents, and cuts them into shuffled blocks.

The token at a position is a pure function of text, seed and position. Whole batches are looked up at once.
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

_CACHED_FROM_DOCUMENTS = 1 << 20  # to shuffle a million documents takes a fifth of a second
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
        # The last block needs one token after it: a causal model's last target.
        self.blocks = (tokens - 1) // block
        if self.blocks < 1:
            raise UserError(
                f"data: {folder}: the {tokens} tokens of the split {split} do not fill one sample of {block}; "
                "lower seq_len, or prepare more text"
            )
        self._epoch: _Epoch | None = None

    @property
    def tokens_per_epoch(self) -> int:
        """The tokens that an epoch serves. It serves only whole blocks."""
        return self.blocks * self.block

    def read(self, positions: Integers, length: int) -> Integers:
        """The tokens from each token position of the run on, shape (positions, length).

        `length` is at most one block plus one token.
        """
        result = np.empty((len(positions), length), dtype=np.int64)
        for epoch, here, starts in self._by_epoch(positions):
            result[here] = self.shards.read(*epoch.pieces(starts, length)).reshape(-1, length)
        return result

    def read_in_documents(self, positions: Integers, length: int) -> tuple[Integers, Integers]:
        """Read as `read` does. Also return each token's place, from 0, in its document's piece, in the same shape."""
        tokens, places = (np.empty((len(positions), length), dtype=np.int64) for _ in range(2))
        for epoch, here, starts in self._by_epoch(positions):
            first_tokens, lengths = epoch.pieces(starts, length)
            tokens[here] = self.shards.read(first_tokens, lengths).reshape(-1, length)
            pieces_start = np.cumsum(lengths) - lengths
            places[here] = (np.arange(lengths.sum()) - np.repeat(pieces_start, lengths)).reshape(-1, length)
        return tokens, places

    def documents(self, positions: Integers, length: int) -> Integers:
        """For each token that `read` gives, the number of its document in the shards, shape (positions, length)."""
        result = np.empty((len(positions), length), dtype=np.int64)
        for epoch, here, starts in self._by_epoch(positions):
            places, lengths = epoch.pieces(starts, length)
            numbers = np.searchsorted(self.shards.first_tokens, places, side="right") - 1
            result[here] = np.repeat(numbers, lengths).reshape(-1, length)
        return result

    def _by_epoch(self, positions: Integers) -> Iterator[tuple["_Epoch", NDArray[np.bool_], Integers]]:
        """For each epoch: marks of the positions that are in it, and their places in its shuffled documents."""
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
        """The numbers of the blocks at these positions of the epoch. The blocks that follow are cached."""
        first, last = int(blocks.min()), int(blocks.max())
        if not self._ahead_from <= first <= last < self._ahead_from + len(self._ahead):
            stop = min(max(last + 1, first + _BLOCKS_AHEAD), self._stream.blocks)
            size, seed = self._stream.blocks, self._stream.seed
            self._ahead = permute(np.arange(first, stop), size, seed, Stream.WINDOW_ORDER, self.number)
            self._ahead_from = first
        return self._ahead[blocks - self._ahead_from]

    def pieces(self, starts: Integers, length: int) -> tuple[Integers, Integers]:
        """Cut windows of the shuffled documents into pieces that each lie within one document.

        Args:
            starts: the places where the windows start.
            length: the number of tokens of a window.
        Returns:
            The place in the shards where each piece starts, and its length. The lengths of a window sum to `length`.
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

    For each document in order it has two numbers: the document's end in the shuffled stream, and the distance from the
    places of its tokens in that stream to their places in the shards. If there are many documents and the folder can be
    written to, the order is saved there and mapped into memory, so that the ranks of a node share it.
    """
    documents = len(stream.shards.lengths)
    if documents < _CACHED_FROM_DOCUMENTS:
        return _shuffle_documents(stream, epoch)
    text = files.key([files.describe(index) for index, _ in stream.pairs])
    own = f"{stream.prefix.name}-seed{stream.seed}-"
    path = stream.prefix.parent / "cache" / f"{own}epoch{epoch}-{text}.order"
    with suppress(OSError, ValueError):  # the file is missing or damaged
        return _load_order(path, documents)
    order = _shuffle_documents(stream, epoch)
    with suppress(OSError, ValueError):  # the folder cannot be written to
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
    """Map a saved order into memory. The last 8 bytes of its file are a hash of the others.

    Raises:
        OSError: the file does not exist.
        ValueError: the file is damaged.
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
