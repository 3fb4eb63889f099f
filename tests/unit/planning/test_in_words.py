"""Figures for people: each has the unit that fits its size."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo_ds.planning.in_words import (
    count_in_words,
    flops_in_words,
    loss_in_words,
    perplexity_in_words,
    size_in_words,
    time_in_words,
)

_BYTES = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_SECONDS = {"ms": 1e-3, "s": 1, "min": 60, "h": 3600, "days": 86_400, "years": 31_557_600}


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (999.9, "1.0 kB"), (81.26e9, "81.3 GB"), (999.6e6, "1.0 GB"), (397e9, "397 GB")],
)
def test_sizes(size: float, words: str) -> None:
    assert size_in_words(size) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 ms"),
        (0.0123, "12 ms"),
        (0.9999, "1.0 s"),
        (119, "119.0 s"),
        (290, "4.8 min"),
        (8000, "2.2 h"),
        (2e5, "2.3 days"),
        (8361 * 86_400, "22.9 years"),
    ],
)
def test_times(seconds: float, words: str) -> None:
    assert time_in_words(seconds) == words


@given(st.floats(1, 1e17))
def test_a_size_in_words_is_close_to_the_size(size: float) -> None:
    number, unit = size_in_words(size).split()
    assert float(number) * _BYTES[unit] == pytest.approx(size, rel=0.51)
    assert unit == "B" or float(number) * _BYTES[unit] == pytest.approx(size, rel=0.051)


@given(st.floats(1e-3, 1e10))
def test_a_time_in_words_is_close_to_the_time(seconds: float) -> None:
    number, unit = time_in_words(seconds).split()
    assert float(number.replace(",", "")) * _SECONDS[unit] == pytest.approx(seconds, rel=0.051)


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0"), (850, "850"), (25_149, "25.1 k"), (999_600, "1 M"), (3.13e6, "3.13 M"), (2e9, "2 G"), (5e14, "500 T")],
)
def test_counts(count: float, words: str) -> None:
    assert count_in_words(count) == words


@pytest.mark.parametrize(
    ("flops", "words"),
    [
        (0.0, "0 FLOP"),
        (850.0, "850 FLOP"),
        (4.123e11, "412 GFLOP"),
        (9.996e11, "1 TFLOP"),
        (2.269e13, "22.7 TFLOP"),
        (1.234e21, "1.23 ZFLOP"),
        (5e26, "500 YFLOP"),
    ],
)
def test_operations(flops: float, words: str) -> None:
    assert flops_in_words(flops) == words


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (2.5369, "12.64"),
        (5.224, "185.7"),
        (10.0, "22,026"),
        (20.0, "4.852e+08"),
        (1e9, "inf"),
        (inf, "inf"),
        (nan, "nan"),
    ],
)
def test_perplexities(loss: float, words: str) -> None:
    assert perplexity_in_words(loss) == words


@pytest.mark.parametrize(
    ("loss", "words", "difference"),
    [
        (5.22406, "5.2241", "+5.2241"),
        (99.99, "99.9900", "+99.9900"),
        (1.0796e11, "1.08e+11", "+1.08e+11"),
        (-0.01484, "-0.0148", "-0.0148"),
        (-2e5, "-2e+05", "-2e+05"),
        (nan, "nan", "+nan"),
    ],
)
def test_losses(loss: float, words: str, difference: str) -> None:
    assert loss_in_words(loss) == words
    assert loss_in_words(loss, sign=True) == difference
    assert loss_in_words(1.2345, digits=3) == "1.234"
