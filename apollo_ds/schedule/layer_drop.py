"""Skipping blocks at random: which run in a step, as a pure function of (seed, step).

The gates of a step are the same on every rank and for every sample, so a block that is skipped costs nothing.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from statistics import fmean

from apollo_ds.rng import Stream, uniform

_SAMPLES_OF_TIME = 257


@dataclass(frozen=True)
class LayerDrop(ABC):
    """How likely each position is to run, over the depth and over the run.

    With `rescaled`, what a block that runs adds is divided by that probability, so that its expectation is that of a
    network that skips nothing. A post-LN block normalises its sum, so there it is left as it is.
    """

    rescaled: bool

    @abstractmethod
    def keep(self, position: int, depth: int, progress: float) -> float:
        """Probability that the block at a position (from 0) of `depth` runs, at this fraction of the run."""

    def gates(self, depth: int, progress: float, seed: int, step: int) -> tuple[tuple[int, float], ...]:
        """The positions that run in a step, each with the factor of what its block adds."""
        chances = [self.keep(position, depth, progress) for position in range(depth)]
        return tuple(
            (position, 1 / chance if self.rescaled else 1.0)
            for position, chance in enumerate(chances)
            if float(uniform(seed, Stream.GATES, step, position)) < chance
        )

    def expected_depth(self, depth: int, first_progress: float, last_progress: float) -> float:
        """Mean number of blocks that run, between two fractions of the run."""
        times = [
            first_progress + (last_progress - first_progress) * i / _SAMPLES_OF_TIME for i in range(_SAMPLES_OF_TIME)
        ]
        return fmean(sum(self.keep(position, depth, time) for position in range(depth)) for time in times)
