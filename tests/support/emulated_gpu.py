"""Imitates a GPU's behaviour under PyTorch for tests on a CPU: host waits, memory use, and a group without CPUs."""

import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.attention import flex_attention
from torch.overrides import TorchFunctionMode
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

_READS = {"_local_scalar_dense", "equal", "is_nonzero", "masked_select", "nonzero", "unique_consecutive", "_unique2"}
"""Operations whose result, or its size, the host reads: there it would wait for a GPU."""
_COPIES = {"cpu", "numpy", "tolist"}
"""Methods that copy to the host. On a CPU they are no operations."""
_OF_THE_TEST = {"emulated_gpu.py"}


class HostWaits(TorchDispatchMode):
    """Notes where the host would wait for a GPU, while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []
        self._methods = ExitStack()

    def __enter__(self) -> Self:
        self._methods.enter_context(_Methods(self))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._methods.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__.split(".")[0] in _READS:
            self.note(func.__name__)
        return func(*args, **kwargs or {})

    def note(self, what: str) -> None:
        """One more wait, where the code is now."""
        frames = (frame for frame in reversed(traceback.extract_stack()) if "/torch/" not in frame.filename)
        where = next(frame for frame in frames if Path(frame.filename).name not in _OF_THE_TEST)
        self.places.append(f"{Path(where.filename).name}:{where.lineno} {what}")


class _Methods(TorchFunctionMode):
    def __init__(self, waits: HostWaits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _COPIES:
            self._waits.note(func.__name__)
        return func(*args, **kwargs or {})


class LargestTensor(TorchDispatchMode):
    """The most elements that a tensor has which is made while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **kwargs or {})
        given = {id(tensor.untyped_storage()) for tensor in args if isinstance(tensor, Tensor)}
        if isinstance(result, Tensor) and id(result.untyped_storage()) not in given:
            self.elements = max(self.elements, result.numel())
        return result


@contextmanager
def group_without_cpus() -> Iterator[torch.device]:
    """A default group of two ranks that takes tensors of one device only, which it gives; as NCCL's takes a GPU's."""
    dist.init_process_group("meta:fake", rank=0, world_size=2, store=FakeStore())
    try:
        yield torch.device("meta")
    finally:
        dist.destroy_process_group()


@contextmanager
def fp16_as_on_a_gpu() -> Iterator[None]:
    """Let DeepSpeed compute in fp16 on this CPU, which is slow but right; vocabularies are filled up as on a GPU."""
    from deepspeed.accelerator import get_accelerator

    from apollo_ds.models.loss import VOCABULARY_MULTIPLE

    with (
        patch.object(get_accelerator(), "is_fp16_supported", lambda: True),
        patch.dict(VOCABULARY_MULTIPLE, cpu=VOCABULARY_MULTIPLE["cuda"]),
    ):
        yield


@contextmanager
def flex_on_a_cpu() -> Iterator[None]:
    """FlexAttention as PyTorch defines it, uncompiled. On a CPU it refuses gradients, which only its kernel lacks."""
    with ExitStack() as patches:
        patches.enter_context(patch.object(flex_attention, "_validate_device", lambda *_: None))
        patches.enter_context(patch.object(flex_attention, "_warn_once", lambda *_, **__: None))  # that it is slow
        uncompiled = "apollo_ds.models.attention.compiled_flex_attention"
        patches.enter_context(patch(uncompiled, lambda: flex_attention.flex_attention))
        yield
