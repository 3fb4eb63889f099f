"""Samples of several texts in fixed shares. What stands at a position is a pure function of (texts, seed, position)."""

from collections.abc import Iterator, Sequence
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from apollo_ds.data.text import Text
from apollo_ds.data.token_stream import TokenStream
from apollo_ds.rng import Stream, random_bits

LONGEST_CYCLE = 10_000
"""Samples. No share is off by more than one of them."""

Integers: TypeAlias = NDArray[np.int64]


class Mixture:
    """Streams that take turns, block by block, in cycles that hold each stream's share exactly.

    A cycle is the fewest blocks in which every share is a whole number, at most 10,000: 10 for 0.7 and 0.3, seven of
    the one and three of the other. The order within a cycle is drawn anew each time. A single stream is served as it
    is.
    """

    def __init__(self, streams: Sequence[TokenStream], shares: Sequence[float], block: int, seed: int) -> None:
        self.streams = streams
        self.block = block
        self.seed = seed
        self.counts = blocks_in_a_cycle(shares)
        self._ends = np.cumsum(self.counts)

    @classmethod
    def of(cls, text: Text, block: int, seed: int) -> Self:
        """What a run trains on.

        Raises:
            UserError: a source holds less than one block, or its files do not belong together.
        """
        streams = [TokenStream(source.corpus.folder, "train", block, seed) for source in text.sources]
        return cls(streams, [source.share for source in text.sources], block, seed)

    @property
    def blocks(self) -> int:
        """Blocks of all streams in one epoch each."""
        return sum(stream.blocks for stream in self.streams)

    def by_stream(self, positions: Integers) -> Iterator[tuple[TokenStream, NDArray[np.bool_], Integers]]:
        """For each stream: which token positions of the run are its, and where these are in the stream."""
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
        """The cycle of each block, and its drawn place in that: the first places are those of the first stream."""
        size = int(self._ends[-1])
        cycle, inside = np.divmod(blocks, size)
        cycles, which = np.unique(cycle, return_inverse=True)
        keys = random_bits(self.seed, Stream.MIXTURE, cycles[:, None], np.arange(size)[None, :])
        return cycle, keys.argsort(axis=1).argsort(axis=1)[which, inside]  # no two keys are equal


def blocks_in_a_cycle(shares: Sequence[float]) -> Integers:
    """Blocks of each stream in a cycle, shape (streams,), at least one; `shares` sum to 1, each at least 1e-4."""
    sizes = np.arange(1, LONGEST_CYCLE + 1)[:, None]
    wanted = sizes * np.asarray(shares)
    exact = (np.abs(wanted - np.rint(wanted)) < 1e-6).all(axis=1) & (np.rint(wanted) >= 1).all(axis=1)
    if exact.any():
        return np.rint(wanted[exact.argmax()]).astype(np.int64)
    counts = np.maximum(np.floor(wanted[-1]), 1).astype(np.int64)
    lacking = LONGEST_CYCLE - int(counts.sum())
    counts[np.argsort(counts - wanted[-1], kind="stable")[: max(lacking, 0)]] += 1
    return counts
