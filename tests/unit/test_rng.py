"""Random numbers from counters, and the permutation made of them."""

import numpy as np
import pytest

from apollo_ds.rng import Stream, permute, random_bits, uniform


@pytest.mark.parametrize("size", [1, 2, 3, 10, 255, 256, 257, 5000])
def test_permute_visits_every_index_once(size: int) -> None:
    result = permute(np.arange(size), size, 3, Stream.WINDOW_ORDER, 0)
    assert sorted(result) == list(range(size))


def test_permutations_differ_between_epochs_and_leave_no_pattern() -> None:
    first, second = (permute(np.arange(5000), 5000, 3, Stream.WINDOW_ORDER, epoch) for epoch in (0, 1))
    assert (first == second).mean() < 0.01
    assert abs(np.corrcoef(first, np.arange(5000))[0, 1]) < 0.05


def test_uniform_numbers_are_uniform_and_independent() -> None:
    numbers = uniform(1, Stream.DEPTH, np.arange(100_000))
    assert numbers.min() >= 0 and numbers.max() < 1
    assert np.histogram(numbers, 50)[0].std() < 4 * np.sqrt(2000)
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.02


def test_streams_and_seeds_are_independent() -> None:
    a = random_bits(1, Stream.DEPTH, np.arange(100))
    assert not np.isin(a, random_bits(2, Stream.DEPTH, np.arange(100))).any()
    assert not np.isin(a, random_bits(1, Stream.GROWTH, np.arange(100))).any()
