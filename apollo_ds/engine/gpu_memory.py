"""How PyTorch keeps a GPU's memory for reuse."""

from collections.abc import MutableMapping

_NAMES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
"""All that PyTorch reads; it warns of the older two."""


def let_segments_grow(environment: MutableMapping[str, str]) -> None:
    """Let kept memory grow in place, unless the environment says how it is kept. Call it before torch is imported.

    Steps run layers and samples in other numbers than those before them, so that what those have left rarely fits.
    """
    if environment.get("DS_ACCELERATOR") != "cpu" and not any(name in environment for name in _NAMES):
        environment[_NAMES[0]] = "expandable_segments:True"
