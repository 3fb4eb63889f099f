"""Which documents are held out: the smallest hashes, as far as the tokens of a source allow."""

import numpy as np
import numpy.typing as npt
import pytest

from data_prep.choose import Choice, choose
from data_prep.errors import DataError


def chosen(lengths: list[int], fraction: float = 0.01, seed: int = 0, origin: list[int] | None = None) -> Choice:
    """The choice among texts of these lengths whose hashes are random."""
    of_source = np.array(origin or [0] * len(lengths))
    hashes = np.random.default_rng(seed).integers(2**64, size=(len(lengths), 2), dtype=np.uint64)
    return choose(hashes, np.array(lengths, np.int32), of_source, [1.0] * (max(of_source) + 1), fraction, False, {})


def smallest_hashes(hashes: npt.NDArray[np.uint64], origin: npt.NDArray[np.intp], fraction: float) -> list[bool]:
    marks = hashes / 2.0**64 < fraction
    for source in set(origin):
        own = np.flatnonzero(origin == source)
        marks[own[hashes[own].argmin()]] = True
    return marks.tolist()


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.03, 0.5, 0.9])
def test_of_many_documents_those_of_the_smallest_hashes_are_held_out(fraction: float) -> None:
    rng = np.random.default_rng(1)
    origin = rng.integers(3, size=3000)
    lengths = rng.lognormal(5, 1, 3000).astype(np.int32)
    hashes = rng.integers(2**64, size=(3000, 2), dtype=np.uint64)
    choice = choose(hashes, lengths, origin, [1.0] * 3, fraction, False, {})
    assert choice.held_out.tolist() == smallest_hashes(hashes[:, 0], origin, fraction)


@pytest.mark.parametrize("lengths", [[1000, 60], [60, 1000], [100, 100], [5000, 10, 10, 10], [1000, 600, 1000]])
def test_a_source_of_few_documents_keeps_at_least_about_half_to_train_on(lengths: list[int]) -> None:
    for seed in range(30):
        held_out = chosen(lengths, seed=seed).held_out
        assert 0 < np.array(lengths)[held_out].sum() <= 0.505 * sum(lengths)


def test_a_document_that_is_most_of_a_source_is_never_held_out() -> None:
    lengths = [100_000, *[100] * 500]
    for seed in range(60):
        held_out = chosen(lengths, seed=seed).held_out
        assert held_out.any() and not held_out[0]
    long_ones = [1000] * 20 + [10] * 2000  # of 40,000 tokens, of which four times 1% may be held out
    shares = [np.array(long_ones)[chosen(long_ones, seed=seed).held_out].sum() / 40_000 for seed in range(40)]
    assert max(shares) <= 0.04 and min(shares) > 0


def test_equal_texts_of_a_source_count_together_and_in_every_source() -> None:
    """The first source's texts are 0, 0, 1; the second's is 0, which therefore must be trained on."""
    for seed in range(20):
        hashes = np.random.default_rng(seed).integers(2**64, size=(2, 2), dtype=np.uint64)[[0, 0, 1, 0]]
        lengths = np.array([10, 10, 10, 10], np.int32)
        choice = choose(hashes, lengths, np.array([0, 0, 0, 1]), [1.0, 1.0], 0.01, False, {})
        assert choice.held_out.tolist() == [False, False, True, False]


@pytest.mark.parametrize("count", [1, 3])
def test_a_single_text_cannot_be_split(count: int) -> None:
    hashes = np.full((count, 2), 5, dtype=np.uint64)
    with pytest.raises(DataError, match=r"give at least two that differ \(a text file is one document, and a large"):
        choose(hashes, np.full(count, 9, np.int32), np.zeros(count, np.intp), [1.0], 0.01, count > 1, {})
