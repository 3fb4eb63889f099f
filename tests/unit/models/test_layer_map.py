"""Layer maps: published values, and the composition law that makes growth exact."""

from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo_ds.models.layer_map import (
    LAYER_MAPS,
    added,
    block_expansion,
    duplicate_middle,
    interpolate,
    middle_block,
    stack,
)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (1, 3, (0, 0, 0)),
        (3, 6, (0, 0, 1, 1, 2, 2)),
        (3, 8, (0, 0, 0, 1, 1, 1, 2, 2)),
        (6, 12, (0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5)),
    ],
)
def test_interpolation_is_the_published_map(source: int, target: int, expected: tuple[int, ...]) -> None:
    assert interpolate(source, target) == expected


def test_interpolation_keeps_integers_where_the_published_code_rounds_down() -> None:
    assert interpolate(14, 18)[9] == 7


def test_stacking_aligns_a_partial_repetition_to_the_top() -> None:
    assert stack(3, 6) == (0, 1, 2, 0, 1, 2)
    assert stack(3, 8) == (0, 1, 2, 0, 1, 2, 1, 2)


@pytest.mark.parametrize(
    ("source", "target", "expected", "new"),
    [
        (4, 6, (0, 1, 1, 2, 3, 3), (2, 5)),
        (4, 5, (0, 1, 2, 3, 3), (4,)),
        (5, 7, (0, 1, 1, 2, 3, 4, 4), (2, 6)),
        (3, 6, (0, 0, 1, 1, 2, 2), (1, 3, 5)),
        (2, 5, (0, 0, 1, 1, 1), (1, 3, 4)),
        (1, 3, (0, 0, 0), (1, 2)),
    ],
)
def test_block_expansion_puts_copies_after_groups(
    source: int, target: int, expected: tuple[int, ...], new: tuple[int, ...]
) -> None:
    assert block_expansion(source, target) == expected
    assert added(expected) == new


def test_block_expansion_is_llama_pro_s() -> None:
    expanded = block_expansion(32, 40)
    assert added(expanded) == (4, 9, 14, 19, 24, 29, 34, 39)
    assert [expanded[i] for i in added(expanded)] == [3, 7, 11, 15, 19, 23, 27, 31]


@given(st.integers(1, 48), st.integers(0, 48))
def test_block_expansion_spreads_what_it_adds(source: int, more: int) -> None:
    expanded = block_expansion(source, source + min(more, source))
    assert list(expanded) == sorted(expanded)
    groups = [0, *(expanded[i] + 1 for i in added(expanded))]
    sizes = [after - before for before, after in pairwise(groups)]
    assert not sizes or max(sizes) - min(sizes) <= 1


@given(st.integers(1, 48), st.integers(0, 48))
def test_duplicating_the_middle_is_solar_s_up_scaling(source: int, more: int) -> None:
    target = source + min(more, source)
    left_out = 2 * source - target  # by both copies together
    below = left_out // 2
    lower, upper = range(source - (left_out - below)), range(below, source)
    assert duplicate_middle(source, target) == (*lower, *upper)


def test_solar_s_own_numbers() -> None:
    assert duplicate_middle(32, 48) == (*range(24), *range(8, 32))


@given(st.integers(1, 9), st.integers(1, 8))
def test_the_middle_block_is_midas_s(size: int, blocks: int) -> None:
    layers = [tuple(range(number * size, (number + 1) * size)) for number in range(blocks)]
    middle = ceil(blocks / 2) - 1
    layers.insert(middle + 1, layers[middle])
    assert middle_block(blocks * size, (blocks + 1) * size) == tuple(layer for block in layers for layer in block)


def test_a_middle_block_among_parts_of_one_is_nearest_the_middle() -> None:
    assert middle_block(6, 9) == (0, 1, 2, 0, 1, 2, 3, 4, 5)
    assert middle_block(5, 7) == (0, 1, 2, 3, 2, 3, 4)
    assert middle_block(2, 6) == (0, 1, 0, 1, 0, 1)


@given(st.sampled_from(sorted(LAYER_MAPS)), st.integers(1, 64), st.integers(1, 64))
def test_every_unique_layer_is_used(name: str, a: int, b: int) -> None:
    source, target = min(a, b), max(a, b)
    assert set(LAYER_MAPS[name](source, target)) == set(range(source))


@given(st.integers(1, 16), st.integers(1, 4), st.integers(0, 64))
def test_interpolations_compose_where_the_old_count_divides_the_new(old: int, factor: int, more: int) -> None:
    new = old * factor
    depth = new + more
    growth = interpolate(old, new)
    assert tuple(growth[i] for i in interpolate(new, depth)) == interpolate(old, depth)


def test_interpolations_do_not_compose_where_it_does_not_divide() -> None:
    growth = interpolate(2, 3)
    assert tuple(growth[i] for i in interpolate(3, 4)) != interpolate(2, 4)
