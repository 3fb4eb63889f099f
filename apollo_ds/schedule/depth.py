"""Draws the depth of each step, as a function of (seed, step), from a distribution over depths.

In each step, a stage with `unique` layers runs d of the `target` positions, unique <= d <= target. The distributions
are those of Apollo (Table 1), in closed form. LVPS and ES are distributions of the ratio y = d / unique.
"""

from collections.abc import Callable
from itertools import pairwise
from math import exp

import numpy as np

from apollo_ds.rng import Stream, uniform

# The released code widens the range [1, target / unique] of y by these margins before clamping back into it.
_LOWER, _UPPER_MARGIN = 0.6, 0.4
_SIGMOID_STEEPNESS = 20.0

DepthDistribution = tuple[float, ...]
"""Probability of each depth unique, unique + 1, ..., target."""
Sampler = Callable[[int, int], DepthDistribution]
"""Takes the numbers of unique layers and of positions, and returns a distribution."""
SAMPLERS: dict[str, Sampler] = {}
"""All samplers by name; the names are the values of `method.sampler`."""


def sampler(function: Sampler) -> Sampler:
    """Register a function as a sampler. Its name is a value of `method.sampler`."""
    SAMPLERS[function.__name__] = function
    return function


def _discretise(survival: Callable[[float], float], unique: int, target: int) -> DepthDistribution:
    """Return the probability of each d = floor(y * unique) from P(Y >= y), with y clamped to [1, target / unique]."""
    at_least = [1.0, *(survival(d / unique) for d in range(unique + 1, target + 1)), 0.0]
    return tuple(a - b for a, b in pairwise(at_least))


@sampler
def lvps(unique: int, target: int) -> DepthDistribution:
    """Low-value-prioritised sampling (eq. 7 to 10): density proportional to 1 / y^2."""
    a, b = _LOWER, target / unique + _UPPER_MARGIN
    return _discretise(lambda y: (1 / y - 1 / b) / (1 / a - 1 / b), unique, target)


@sampler
def es(unique: int, target: int) -> DepthDistribution:
    """Edge sampling: y = a + (b - a) / (1 + exp(20 (x - 1/2))) for uniform x, so most mass lies at both ends."""
    a, b = _LOWER, target / unique + _UPPER_MARGIN

    def survival(y: float) -> float:
        # y falls as x rises, so P(Y >= y) is the x at which y is reached, clipped to the range x can take.
        lowest, highest = (a + (b - a) / (1 + exp(s * _SIGMOID_STEEPNESS / 2)) for s in (1, -1))
        if y <= lowest or y >= highest:
            return float(y <= lowest)
        return 0.5 + float(np.log((b - a) / (y - a) - 1)) / _SIGMOID_STEEPNESS

    return _discretise(survival, unique, target)


@sampler
def us(unique: int, target: int) -> DepthDistribution:
    """Uniform sampling: every depth from `unique` to `target` equally often."""
    depths = target - unique + 1
    return (1 / depths,) * depths


@sampler
def fs(unique: int, target: int) -> DepthDistribution:
    """Full sampling: always the target depth, with shared layers."""
    return _discretise(lambda y: 1.0, unique, target)


@sampler
def none(unique: int, target: int) -> DepthDistribution:
    """No sampling: each unique layer runs once."""
    return _discretise(lambda y: 0.0, unique, target)


def draw_depth(distribution: DepthDistribution, first: int, seed: int, *counters: int) -> int:
    """Draw the depth of a step, or of one of its micro-batches. It is the same on every rank and after every restart.

    `first` is the depth that the distribution begins with; `counters` are the step, or the step and micro-batch.
    """
    x = float(uniform(seed, Stream.DEPTH, *counters))
    return first + min(int(np.searchsorted(np.cumsum(distribution), x, side="right")), len(distribution) - 1)
