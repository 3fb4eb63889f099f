"""Mix samples of several texts in fixed shares. What is at a position depends only on texts, seed and position."""

from collections.abc import Iterator, Sequence
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from apollo_ds.data.text import Text
from apollo_ds.data.token_stream import TokenStream
from apollo_ds.rng import Stream, random_bits

LONGEST_CYCLE = 10_000
"""The most samples in a cycle. No share is off by more than one of them."""

Integers: TypeAlias = NDArray[np.int64]


class Mixture:
    """Streams that take turns, block by block, in cycles that hold each stream's share exactly.

    A cycle has the fewest blocks in which every share is a whole number, and at most 10,000. For the shares 0.7 and 0.3
    it has 10 blocks: seven of the first stream and three of the second. Their order is drawn anew in each cycle. With a
    single stream, its blocks come in their own order.
    """

    def __init__(self, streams: Sequence[TokenStream], shares: Sequence[float], block: int, seed: int) -> None:
        self.streams = streams
        self.block = block
        self.seed = seed
        self.counts = blocks_in_a_cycle(shares)
        self._ends = np.cumsum(self.counts)

    @classmethod
    def of(cls, text: Text, block: int, seed: int) -> Self:
        """The training samples of a text.

        Raises:
            UserError: a source holds less than one block, or its files do not belong together.
        """
        streams = [TokenStream(source.corpus.folder, "train", block, seed) for source in text.sources]
        return cls(streams, [source.share for source in text.sources], block, seed)

    @property
    def blocks(self) -> int:
        """The number of blocks of one epoch of each stream, all together."""
        return sum(stream.blocks for stream in self.streams)

    def by_stream(self, positions: Integers) -> Iterator[tuple[TokenStream, NDArray[np.bool_], Integers]]:
        """For each stream: marks of the run's token positions that it serves, and these positions in the stream."""
        if len(self.streams) == 1:
            yield self.streams[0], np.ones(len(positions), dtype=bool), positions
            return
        block, offset = np.divmod(positions, self.block)
        cycle, place = self._places(block)
        owners = np.searchsorted(self._ends, place, side="right")
        for number in np.unique(owners):
            here = owners == number
            first = self._ends[number] - self.counts[number]
            own = cycle[here] * self.counts[number] + place[here] - first
            yield self.streams[number], here, own * self.block + offset[here]

    def _places(self, blocks: Integers) -> tuple[Integers, Integers]:
        """The cycle of each block, and its drawn place in the cycle. The first places belong to the first stream."""
        size = int(self._ends[-1])
        cycle, inside = np.divmod(blocks, size)
        cycles, which = np.unique(cycle, return_inverse=True)
        keys = random_bits(self.seed, Stream.MIXTURE, cycles[:, None], np.arange(size)[None, :])
        return cycle, keys.argsort(axis=1).argsort(axis=1)[which, inside]  # no two keys are equal


def blocks_in_a_cycle(shares: Sequence[float]) -> Integers:
    """The number of blocks of each stream in a cycle, at least one, shape (streams,).

    `shares` must sum to 1, and each must be at least 1e-4.
    """
    sizes = np.arange(1, LONGEST_CYCLE + 1)[:, None]
    wanted = sizes * np.asarray(shares)
    exact = (np.abs(wanted - np.rint(wanted)) < 1e-6).all(axis=1) & (np.rint(wanted) >= 1).all(axis=1)
    if exact.any():
        return np.rint(wanted[exact.argmax()]).astype(np.int64)
    counts = np.maximum(np.floor(wanted[-1]), 1).astype(np.int64)
    lacking = LONGEST_CYCLE - int(counts.sum())
    counts[np.argsort(counts - wanted[-1], kind="stable")[: max(lacking, 0)]] += 1
    return counts
