"""What a rank has used of its memory."""

import sys

import pytest
import torch

from apollo_ds.engine.hardware import peak_memory_bytes, reset_peak_memory

_CPU = torch.device("cpu")
_MUCH = 300 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not let a peak begin anew")
def test_a_peak_is_of_the_time_since_it_was_reset() -> None:
    before = peak_memory_bytes(_CPU)
    torch.ones(_MUCH // 4)
    with_much = peak_memory_bytes(_CPU)
    reset_peak_memory(_CPU)
    after = peak_memory_bytes(_CPU)
    torch.ones(_MUCH // 4)
    assert with_much - before > 0.8 * _MUCH
    assert with_much - after > 0.8 * _MUCH
    assert peak_memory_bytes(_CPU) - after > 0.8 * _MUCH
