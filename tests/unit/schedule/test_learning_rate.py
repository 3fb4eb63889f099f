"""Learning-rate policies: warm-up, and what each comes to at its ends."""

from itertools import pairwise

import pytest

from apollo_ds.schedule.learning_rate import LearningRate, Policy

POLICIES: list[Policy] = ["cosine", "linear", "wsd", "constant"]
DECAYING: list[Policy] = ["cosine", "linear", "wsd"]


class _Rate:
    """A policy over a thousand steps."""

    def __init__(self, policy: LearningRate) -> None:
        self.policy = policy

    def at(self, step: int) -> float:
        return self.policy.at(step, 1000)


def rate(policy: Policy, warmup_steps: int = 100, final_fraction: float = 0.0) -> _Rate:
    return _Rate(LearningRate(policy, 1e-3, warmup_steps / 1000, final_fraction, decay_fraction=0.2))


@pytest.mark.parametrize("policy", POLICIES)
def test_warm_up_rises_in_equal_steps_to_the_peak(policy: Policy) -> None:
    warmup = [rate(policy).at(step) for step in range(100)]
    assert warmup == pytest.approx([1e-5 * (step + 1) for step in range(100)])
    assert rate(policy).at(100) == pytest.approx(1e-3)


@pytest.mark.parametrize("policy", POLICIES)
def test_without_warm_up_the_first_step_is_at_the_peak(policy: Policy) -> None:
    assert rate(policy, warmup_steps=0).at(0) == pytest.approx(1e-3)


@pytest.mark.parametrize("final_fraction", [0.0, 0.1])
@pytest.mark.parametrize("policy", DECAYING)
def test_decay_ends_at_the_final_fraction(policy: Policy, final_fraction: float) -> None:
    decaying = rate(policy, final_fraction=final_fraction)
    assert decaying.at(1000) == pytest.approx(final_fraction * 1e-3, abs=1e-12)
    last, span = decaying.at(999) - final_fraction * 1e-3, (1 - final_fraction) * 1e-3
    assert 0 < last < 0.01 * span


@pytest.mark.parametrize("policy", DECAYING)
def test_decay_never_rises(policy: Policy) -> None:
    rates = [rate(policy, final_fraction=0.1).at(step) for step in range(100, 1000)]
    assert all(after <= before for before, after in pairwise(rates))


def test_halfway_points() -> None:
    assert rate("cosine").at(550) == pytest.approx(5e-4)
    assert rate("cosine").at(325) == pytest.approx(1e-3 * (2 + 2**0.5) / 4)
    assert rate("linear").at(550) == pytest.approx(5e-4)
    assert rate("linear", final_fraction=0.2).at(550) == pytest.approx(6e-4)


def test_wsd_is_level_until_its_last_fifth() -> None:
    wsd = rate("wsd")
    assert all(wsd.at(step) == pytest.approx(1e-3) for step in range(100, 801))
    assert wsd.at(801) < 1e-3
    assert wsd.at(900) == pytest.approx(5e-4)


def test_constant_stays_at_the_peak_whatever_its_final_fraction() -> None:
    assert {rate("constant", final_fraction=0.1).at(step) for step in (100, 500, 999)} == {1e-3}


@pytest.mark.parametrize(
    ("policy", "decay", "final", "expected"),
    [
        ("wsd", 0.25, 0.0, 31),
        ("wsd", 0.25, 0.5, 31),
        ("wsd", 1.0, 0.0, 4),  # never level: below the peak right after the warm-up
        ("wsd", 0.0, 0.0, None),
        ("wsd", 0.25, 1.0, None),
        ("constant", 0.25, 0.0, None),
        ("cosine", 0.25, 0.0, None),
    ],
)
def test_the_first_step_of_a_decay(policy: Policy, decay: float, final: float, expected: int | None) -> None:
    rate = LearningRate(policy, 3e-4, warmup_fraction=0.1, final_fraction=final, decay_fraction=decay)
    assert rate.decays_from(0, 40) == expected
    assert rate.decays_from(100, 40) == (None if expected is None else 100 + expected)
    if expected is not None:
        assert [rate.at(step, 40) < 3e-4 for step in range(4, 40)] == [step >= expected for step in range(4, 40)]
