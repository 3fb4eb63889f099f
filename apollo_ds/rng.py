"""Random numbers as a pure function of integers: (seed, stream, counters) -> bits.

Every rank computes the same numbers, after every restart and at every world size. Nothing has to be stored or sent.
"""

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LARGEST_SEED = 2**63 - 1
"""The largest seed that torch's generators take."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Stream(IntEnum):
    """The purpose of the numbers. Streams of the same seed are independent of each other."""

    DEPTH = 1
    DOCUMENT_ORDER = 2
    WINDOW_ORDER = 3
    MASKED_POSITIONS = 4
    MASK_REPLACEMENT = 5
    GROWTH = 6
    DROPOUT = 7
    GATES = 8
    FACTORS = 9
    MIXTURE = 10
    SAMPLES = 11


def _mix(x: Any) -> Any:
    """splitmix64's output function (Steele, Lea and Flood 2014) on uint64: a bijection that mixes every bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def random_bits(seed: int, stream: Stream, *counters: ArrayLike) -> NDArray[np.uint64]:
    """64 random bits for each element of the broadcast counters."""
    with np.errstate(over="ignore"):
        state = _mix(np.uint64(seed) + _GOLDEN * np.uint64(stream))
        for counter in counters:
            state = _mix(state + _GOLDEN * (np.asarray(counter).astype(np.uint64) + np.uint64(1)))
    return np.asarray(state)


def uniform(seed: int, stream: Stream, *counters: ArrayLike) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) with 53 random bits, shaped like the broadcast counters."""
    return (random_bits(seed, stream, *counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permute(index: NDArray[np.int64], size: int, seed: int, stream: Stream, *counters: int) -> NDArray[np.int64]:
    """Where a random permutation of range(size) sends each index, without building the permutation.

    A four-round Feistel network permutes the smallest even power of two that holds `size`; indices that leave the
    range are sent through again (cycle walking, Black and Rogaway 2002) until all are back inside.
    """
    half = max(1, (int(size - 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    result = np.asarray(index).astype(np.uint64)
    outside = np.ones(result.shape, dtype=bool)
    while outside.any():
        left, right = result[outside] >> np.uint64(half), result[outside] & mask
        for round_number in range(4):
            bits = random_bits(seed, stream, *counters, round_number, right)
            left, right = right, left ^ (bits & mask)
        result[outside] = (left << np.uint64(half)) | right
        outside = result >= np.uint64(size)
    return result.astype(np.int64)
