"""How PyTorch keeps a GPU's memory for reuse."""

from collections.abc import MutableMapping

_NAMES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
"""The variables that PyTorch reads. It warns about the last two, which are older names."""


def let_segments_grow(environment: MutableMapping[str, str]) -> None:
    """Let PyTorch's memory segments grow in place, unless the environment configures them.

    Call it before torch is imported.

    The number of layers and samples changes from step to step, so freed blocks rarely fit the next step's tensors.
    """
    if environment.get("DS_ACCELERATOR") != "cpu" and not any(name in environment for name in _NAMES):
        environment[_NAMES[0]] = "expandable_segments:True"
