"""Figures for people, each with the unit that fits its size."""

_DAY, _YEAR = 86_400, 31_557_600
_BYTES = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
_COUNTS = ((" T", 1e12), (" G", 1e9), (" M", 1e6), (" k", 1e3))
_TIMES = (("years", _YEAR), ("days", _DAY), ("h", 3600), ("min", 60))


def size_in_words(size: float) -> str:
    """Bytes with a decimal unit: three digits, such as 81.3 GB."""
    unit, factor = next(((unit, factor) for unit, factor in _BYTES if size >= 0.9995 * factor), ("B", 1))
    value = size / factor
    return f"{value:.{0 if value >= 99.95 or unit == 'B' else 1}f} {unit}"


def count_in_words(count: float) -> str:
    """A count with the prefix that suits: 850, 25.1 k, 3.13 M, 2 G."""
    prefix, factor = next(((prefix, factor) for prefix, factor in _COUNTS if count >= 0.9995 * factor), ("", 1))
    return f"{count / factor:.3g}{prefix}" if count < 1e15 else f"{count:.3g}"


def time_in_words(seconds: float) -> str:
    """Seconds with the unit that suits, of which there are at least two: 40 ms, 3.2 s, 5.0 min, 2.1 h, 22.9 years."""
    if seconds < 0.9995:
        return f"{1000 * seconds:.{0 if seconds >= 0.00995 else 1}f} ms"
    unit, factor = next(((unit, factor) for unit, factor in _TIMES if seconds >= 2 * factor), ("s", 1))
    return f"{seconds / factor:,.1f} {unit}"
