"""Freed memory on a CPU: training steps keep it for reuse, a growth gives it back to the system (glibc only)."""

import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_KEEPING = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1}
_GIVING_BACK = {_M_MMAP_MAX: 65536, _M_MMAP_THRESHOLD: 128 * 1024, _M_TRIM_THRESHOLD: 128 * 1024}
"""glibc's initial values. Once any of them is set, glibc no longer raises the thresholds by itself."""

_LARGE = 2**18
"""After a tensor of at least so many elements is freed, what it took is given back to the system at once."""

_keeps = False


def keep_freed_memory() -> None:
    """From now on, let tensors come from what earlier ones have left.

    By default a large tensor is mapped anew and given back when it is freed, and the kernel clears its pages each time.
    """
    global _keeps
    if not _keeps:
        _set(_KEEPING)
    _keeps = True


def return_at_once() -> None:
    """From now on, let what a large tensor took go back to the system when it is freed, whatever lies beside it."""
    global _keeps
    _keeps = False
    _set(_GIVING_BACK)


def return_freed_memory() -> None:
    """Collect garbage, give back what was freed, and from now on, as far as glibc does, at once."""
    global _keeps
    gc.collect()
    if _keeps:
        _set(_GIVING_BACK)
    _keeps = False
    trim()


def trim_after(elements: int) -> None:
    """Give back what a tensor of so many elements has left, if that is much.

    Where memory was kept before, large tensors come from it, too, and what they leave would stay.
    """
    if elements >= _LARGE:
        trim()


def trim() -> None:
    """Give back what was freed, once: memory that has been kept before is used again, and then stays."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def _set(options: dict[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in options.items():
            mallopt(option, value)
