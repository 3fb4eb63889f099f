"""Freed memory on a CPU: training steps keep it for reuse, and a growth returns it to the system (glibc only)."""

import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_KEEPING = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1}
_GIVING_BACK = {_M_MMAP_MAX: 65536, _M_MMAP_THRESHOLD: 128 * 1024, _M_TRIM_THRESHOLD: 128 * 1024}
"""glibc's default values. Once any of them is set, glibc no longer raises the thresholds by itself."""

_LARGE = 2**18
"""When a tensor of at least so many elements is freed, its memory is returned to the system at once."""

_keeps = False


def keep_freed_memory() -> None:
    """From now on, keep freed memory and reuse it for new tensors.

    By default each large tensor is mapped anew and returned when it is freed, and the kernel clears its pages each
    time.
    """
    global _keeps
    if not _keeps:
        _set(_KEEPING)
    _keeps = True


def return_at_once() -> None:
    """From now on, return the memory of a large tensor to the system as soon as it is freed."""
    global _keeps
    _keeps = False
    _set(_GIVING_BACK)


def return_freed_memory() -> None:
    """Collect garbage, return freed memory to the system, and from now on return it at once."""
    global _keeps
    gc.collect()
    if _keeps:
        _set(_GIVING_BACK)
    _keeps = False
    trim()


def trim_after(elements: int) -> None:
    """Return the memory of a freed tensor of so many elements to the system, if the tensor was large.

    A large tensor may have come from memory that was kept before. Without this call it would stay kept.
    """
    if elements >= _LARGE:
        trim()


def trim() -> None:
    """Return freed memory to the system once. Later tensors may still reuse kept memory, which then stays."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def _set(options: dict[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in options.items():
            mallopt(option, value)
