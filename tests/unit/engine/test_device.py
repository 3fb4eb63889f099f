"""Each rank takes the GPU that its launcher has given it. A fake plays CUDA, since one GPU would show nothing."""

import os
from collections.abc import Callable

import pytest

from apollo_ds.engine.device import take_device
from apollo_ds.errors import UserError


class _Cuda:
    """Devices as CUDA counts them: an index beyond those that the process sees is refused."""

    def __init__(self, seen: int) -> None:
        self.seen = seen
        self.current = 0

    def device_name(self) -> str:
        return "cuda"

    def device_count(self) -> int:
        return self.seen

    def set_device(self, device_index: int) -> None:
        if not 0 <= device_index < self.seen:
            raise RuntimeError("CUDA error: invalid device ordinal")
        self.current = device_index


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], _Cuda]:
    """Has a rank that sees so many devices take its own."""

    def take(seen: int, local_rank: str) -> _Cuda:
        monkeypatch.setenv("RANK", "5")
        monkeypatch.setenv("LOCAL_RANK", local_rank)
        accelerator = _Cuda(seen)
        take_device(accelerator)
        return accelerator

    return take


@pytest.mark.parametrize(("seen", "local_rank", "device"), [(8, "5", 5), (1, "0", 0), (1, "5", 0)])
def test_a_rank_s_gpu_is_its_own_among_several_or_the_only_one(
    seen: int, local_rank: str, device: int, taken: Callable[[int, str], _Cuda]
) -> None:
    assert taken(seen, local_rank).current == device
    assert os.environ["LOCAL_RANK"] == str(device)  # DeepSpeed takes the device of this number again


@pytest.mark.parametrize("seen", [0, 4])
def test_a_rank_without_a_gpu_says_so(seen: int, taken: Callable[[int, str], _Cuda]) -> None:
    with pytest.raises(UserError, match=rf"^LOCAL_RANK: rank 5 is number 4 of this machine, .* and sees {seen} GPUs; "):
        taken(seen, "4")
