"""Layer maps: published values, and the composition law that makes growth exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo_ds.models.layer_map import LAYER_MAPS, interpolate, stack


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
