"""The line through noisy losses."""

import numpy as np
import pytest

from apollo_ds.experiments.running_mean import running_mean


def test_it_is_the_mean_of_neighbours() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert running_mean(values.tolist(), 7)[20] == pytest.approx(values[17:24].mean())


def test_a_steep_beginning_is_not_pulled_down() -> None:
    falling = [10.0 - number for number in range(10)]
    assert running_mean(falling, 5)[:8] == pytest.approx(falling[:8])


def test_the_end_is_as_smooth_as_the_rest() -> None:
    assert running_mean([0.0, 0.0, 0.0, 3.0], 5)[-1] == pytest.approx(1.0)


def test_one_value_is_its_own_mean() -> None:
    assert running_mean([4.0], 5).tolist() == [4.0]
