"""Depth sampling: the published distributions, drawn alike everywhere."""

from collections import Counter

import pytest

from apollo_ds.schedule.depth import SAMPLERS, DepthDistribution, draw_depth, es, lvps


def mean_depth(distribution: DepthDistribution, unique: int) -> float:
    return sum((unique + i) * chance for i, chance in enumerate(distribution))


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        ("lvps", [1.7668, 4.2256, 7.1354, 12.0]),
        ("es", [6.3325, 7.3930, 8.9374, 12.0]),
        ("us", [6.5, 7.5, 9.0, 12.0]),
        ("fs", [12.0, 12.0, 12.0, 12.0]),
        ("none", [1.0, 3.0, 6.0, 12.0]),
    ],
)
def test_expected_depths_are_the_published_ones(sampler: str, expected: list[float]) -> None:
    means = [mean_depth(SAMPLERS[sampler](unique, 12), unique) for unique in (1, 3, 6, 12)]
    assert means == pytest.approx(expected, abs=5e-5)


def test_lvps_and_es_probabilities() -> None:
    assert lvps(1, 12)[:3] == pytest.approx([0.7356, 0.1051, 0.0525], abs=5e-5)
    assert lvps(6, 12) == pytest.approx([0.6476, 0.0857, 0.0667, 0.0533, 0.0436, 0.0364, 0.0667], abs=5e-5)
    assert es(3, 12)[-1] == pytest.approx(0.3930, abs=5e-5)


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("unique", [1, 2, 5, 12])
def test_every_distribution_is_one(sampler: str, unique: int) -> None:
    distribution = SAMPLERS[sampler](unique, 12)
    assert len(distribution) == 13 - unique
    assert min(distribution) >= 0
    assert sum(distribution) == pytest.approx(1)


def test_draws_follow_the_distribution() -> None:
    draws, distribution = 20_000, lvps(3, 12)
    counts = Counter(draw_depth(distribution, 3, 7, step) for step in range(draws))
    chi_square = sum((counts[3 + i] - p * draws) ** 2 / (p * draws) for i, p in enumerate(distribution))
    assert chi_square < 27.9  # 9 degrees of freedom, 0.1%


def test_a_draw_depends_on_seed_and_step_alone() -> None:
    distribution = SAMPLERS["us"](1, 12)
    once = [draw_depth(distribution, 1, 42, step) for step in range(50)]
    assert [draw_depth(distribution, 1, 42, step) for step in reversed(range(50))][::-1] == once
    assert [draw_depth(distribution, 1, 43, step) for step in range(50)] != once
