"""Losses that go wrong are seen, and those that are only noisy are not."""

import math
import random

import pytest

from apollo_ds.checkpoint.progress import LossMemory
from apollo_ds.training.faults.loss_spikes import Diverged, LossWatch


def watch(most_bad_steps: int = 10, overflow_is_usual: bool = False) -> LossWatch:
    return LossWatch(LossMemory(), most_bad_steps, deviations=10.0, overflow_is_usual=overflow_is_usual)


def falling_losses(steps: int) -> list[float]:
    noise = random.Random(0)
    return [6 * math.exp(-step / 300) + 2 + noise.gauss(0, 0.2) for step in range(steps)]


def test_a_run_of_noisy_falling_losses_is_left_alone() -> None:
    judge = watch()
    for step, loss in enumerate(falling_losses(2000), 1):
        judge.see(step, 0, loss + (2.5 if step % 50 == 0 else 0), 1.0)  # single outliers too


@pytest.mark.parametrize("height", [4.0, 100.0])
def test_a_spike_is_seen_at_its_third_step(height: float) -> None:
    judge = watch()
    for step, loss in enumerate(falling_losses(500), 1):
        judge.see(step, 0, loss, 1.0)
    for step in (501, 502):
        judge.see(step, 0, 3.1 + height, 1.0)
    with pytest.raises(Diverged, match="for 3 steps") as seen:
        judge.see(503, 0, 3.1 + height, 1.0)
    assert (seen.value.first, seen.value.last) == (501, 503)


def test_a_new_stage_is_measured_by_its_own_losses() -> None:
    judge = watch()
    for step, loss in enumerate(falling_losses(500), 1):
        judge.see(step, 0, loss, 1.0)
    for step in range(501, 520):
        judge.see(step, 1, 50.0, 1.0)


def test_bad_steps_in_a_row_are_too_many_at_the_limit() -> None:
    judge = watch(most_bad_steps=4)
    for step, bad in enumerate([1, 1, 1, 0, 1, 1, 1], 1):
        judge.see(step, 0, math.nan if bad else 3.0, math.inf if bad else 1.0)
    with pytest.raises(Diverged, match="4 steps in a row") as seen:
        judge.see(8, 0, 3.0, math.inf)
    assert (seen.value.first, seen.value.last) == (5, 8)
    assert judge.memory.skipped_steps == 7


def test_overflow_is_usual_in_fp16() -> None:
    judge = watch(most_bad_steps=2, overflow_is_usual=True)
    for step in range(1, 20):
        judge.see(step, 0, 3.0, math.inf)
