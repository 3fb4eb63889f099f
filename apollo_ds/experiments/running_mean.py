"""Smooth noisy losses."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def running_mean(values: Sequence[float], width: int) -> npt.NDArray[np.float64]:
    """The mean of each value and its neighbours, `width` in all.

    At the beginning, where losses fall steeply, it takes as many neighbours after a value as there are before it. At
    the end it takes the neighbours that exist.
    """
    whole = np.concatenate([[0.0], np.cumsum(values, dtype=float)])
    places = np.arange(len(values))
    reach = np.minimum(places, width // 2)
    first, last = places - reach, np.minimum(places + reach, len(values) - 1)
    return np.asarray((whole[last + 1] - whole[first]) / (last + 1 - first))
