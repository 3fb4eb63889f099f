"""Skips blocks at random: it chooses the blocks that run in a step, as a pure function of (seed, step).

The choice is the same on every rank and for every sample, so a block that is skipped costs nothing.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from statistics import fmean

from apollo_ds.rng import Stream, uniform

_SAMPLES_OF_TIME = 257


@dataclass(frozen=True)
class LayerDrop(ABC):
    """Gives each position a probability to run, which may depend on the depth and on the progress of the run.

    With `rescaled`, the output that a block adds is divided by its probability. So its expectation is that of a network
    that skips nothing. Do not set it for a post-LN block, which normalises its sum.
    """

    rescaled: bool

    @abstractmethod
    def keep(self, position: int, depth: int, progress: float) -> float:
        """Return the probability that the block at `position` (from 0) of `depth` runs, at this fraction of the run."""

    def gates(self, depth: int, progress: float, seed: int, step: int) -> tuple[tuple[int, float], ...]:
        """Return the positions that run in a step, each with the factor of its block's output."""
        chances = [self.keep(position, depth, progress) for position in range(depth)]
        return tuple(
            (position, 1 / chance if self.rescaled else 1.0)
            for position, chance in enumerate(chances)
            if float(uniform(seed, Stream.GATES, step, position)) < chance
        )

    def expected_depth(self, depth: int, first_progress: float, last_progress: float) -> float:
        """Return the mean number of blocks that run between two fractions of the run."""
        times = [
            first_progress + (last_progress - first_progress) * i / _SAMPLES_OF_TIME for i in range(_SAMPLES_OF_TIME)
        ]
        return fmean(sum(self.keep(position, depth, time) for position in range(depth)) for time in times)
