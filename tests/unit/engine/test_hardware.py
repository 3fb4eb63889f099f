"""What a rank has used of its memory."""

import sys

import pytest
import torch

from apollo_ds.engine.hardware import check_precision, peak_memory_bytes, reset_peak_memory
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import UserError

_CPU = torch.device("cpu")
_MUCH = 300 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not let a peak begin anew")
def test_a_peak_is_of_the_time_since_it_was_reset() -> None:
    reset_peak_memory(_CPU)  # this process has held more
    before = peak_memory_bytes(_CPU)
    torch.ones(_MUCH // 4)
    with_much = peak_memory_bytes(_CPU)
    reset_peak_memory(_CPU)
    after = peak_memory_bytes(_CPU)
    torch.ones(_MUCH // 4)
    assert with_much - before > 0.8 * _MUCH
    assert with_much - after > 0.8 * _MUCH
    assert peak_memory_bytes(_CPU) - after > 0.8 * _MUCH


def test_an_old_gpu_is_not_asked_for_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch would emulate it, many times slower."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    processes = Processes(rank=0, world_size=1, device=torch.device("cuda", 0))
    check_precision(processes, "fp32")
    with pytest.raises(UserError, match=r"^deepspeed\.bf16: this GPU does not compute in it; use"):
        check_precision(processes, "bf16")
