"""Write figures for people, each with a unit that fits its size."""

from math import exp, inf

MOST_NATS = 20.0
"""Above this loss, the perplexity is not shown: it is too large to say more than the loss."""
_DAY, _YEAR = 86_400, 31_557_600
_BYTES = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
_COUNTS = ((" T", 1e12), (" G", 1e9), (" M", 1e6), (" k", 1e3))
_FLOPS = tuple((prefix, 10.0 ** (3 * power)) for power, prefix in enumerate("kMGTPEZY", start=1))[::-1]
_DIVERGED = 100.0
"""From this many nats on, digits behind the point mean nothing."""
_LARGEST_LOSS = 700.0
"""The perplexity of a greater loss does not fit into a float."""
_TIMES = (("years", _YEAR), ("days", _DAY), ("h", 3600), ("min", 60))


def size_in_words(size: float) -> str:
    """A number of bytes with a decimal unit and three digits, such as 81.3 GB."""
    unit, factor = next(((unit, factor) for unit, factor in _BYTES if size >= 0.9995 * factor), ("B", 1))
    value = size / factor
    return f"{value:.{0 if value >= 99.95 or unit == 'B' else 1}f} {unit}"


def count_in_words(count: float) -> str:
    """A count with a prefix that fits: 850, 25.1 k, 3.13 M, 2 G."""
    prefix, factor = next(((prefix, factor) for prefix, factor in _COUNTS if count >= 0.9995 * factor), ("", 1))
    return f"{count / factor:.3g}{prefix}" if count < 1e15 else f"{count:.3g}"


def time_in_words(seconds: float) -> str:
    """Seconds with a unit that fits. The number is at least two: 40 ms, 3.2 s, 5.0 min, 2.1 h, 22.9 years."""
    if seconds < 0.9995:
        return f"{1000 * seconds:.{0 if seconds >= 0.00995 else 1}f} ms"
    unit, factor = next(((unit, factor) for unit, factor in _TIMES if seconds >= 2 * factor), ("s", 1))
    return f"{seconds / factor:,.1f} {unit}"


def flops_in_words(flops: float) -> str:
    """A number of operations with a prefix that fits: 412 GFLOP, 22.7 TFLOP, 1.3 ZFLOP."""
    prefix, factor = next(((prefix, factor) for prefix, factor in _FLOPS if flops >= 0.9995 * factor), ("", 1.0))
    return f"{flops / factor:.3g} {prefix}FLOP"


def loss_in_words(loss: float, digits: int = 4, sign: bool = False) -> str:
    """A loss in nats: 5.2241, or 1.08e+11 of a run that diverged. With `sign` a difference of two losses: -0.0148."""
    return f"{loss:{'+' * sign}{f'.{digits}f' if abs(loss) < _DIVERGED else '.3g'}}"


def perplexity_in_words(loss: float) -> str:
    """The perplexity of a loss that is given in nats, with four digits or more: 12.64, 185.7, 22,026."""
    perplexity = inf if loss > _LARGEST_LOSS else exp(loss)
    return f"{perplexity:,.0f}" if 1e3 <= perplexity < 1e6 else f"{perplexity:.4g}"
