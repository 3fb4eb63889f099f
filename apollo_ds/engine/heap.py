"""Memory that is freed: kept for the next step, given back when an engine has gone (glibc; elsewhere, nothing)."""

import ctypes
import gc

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_NEVER = -1
_MORE_AT_ONCE = 64 * 2**20


def keep_freed_memory() -> None:
    """Let tensors come from memory that earlier ones have left.

    By default, each large one is mapped anew and given back when it is freed, and the kernel clears its pages each
    time: a fifth of a step on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)  # those of other threads are small, and given back
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
        mallopt(_M_TOP_PAD, _MORE_AT_ONCE)


def return_freed_memory() -> None:
    """Collect garbage, and give what was freed back to the system."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
