"""Read a user's budget for a run: a time, a number of operations, or a number of tokens."""

import re
from dataclasses import dataclass
from math import isfinite
from typing import Self

from apollo_ds.errors import UserError, shown

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")
_COUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:e\+?[0-9]+)?)([kMGT]?)")
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_SHORTEST, _LONGEST = 60.0, 10 * 365 * 86_400.0
_FEWEST_FLOPS, _MOST_FLOPS = 1e10, 1e27
_FEWEST_TOKENS, _MOST_TOKENS = 10_000, 10**14


@dataclass(frozen=True)
class Budget:
    """A budget. Exactly one of its fields is set: a time in seconds, a number of operations, or tokens to read."""

    seconds: float | None = None
    flops: float | None = None
    tokens: int | None = None

    @classmethod
    def read(cls, word: str) -> Self:
        """Read `--budget`: a time such as `90s`, `10m`, `2h` or `3d`, or operations such as `3e18`.

        Raises:
            UserError: the word is neither, or is too small or too large.
        """
        if found := _TIME.fullmatch(word):
            seconds = float(found[1]) * _SECONDS[found[2]]
            if not _SHORTEST <= seconds <= _LONGEST:
                raise UserError(f"--budget: must be from 60s to 3650d, not {shown(word)}; try 10m")
            return cls(seconds=seconds)
        flops = _count(word) if not word.endswith(tuple("kMGT")) else None
        if flops is None:
            raise UserError(
                f"--budget: must be a time such as 90s, 10m, 2h or 3d, or operations such as 3e18, not {shown(word)}"
            )
        if not _FEWEST_FLOPS <= flops <= _MOST_FLOPS:
            raise UserError(
                f"--budget: operations must be from {_FEWEST_FLOPS:g} to {_MOST_FLOPS:g}, not {shown(word)}; "
                "a time has a unit, such as 10m"
            )
        return cls(flops=flops)

    @classmethod
    def read_tokens(cls, word: str) -> Self:
        """Read `--tokens`: a count such as `300M` or `2e9`.

        Raises:
            UserError: the word is not a count, or is too small or too large.
        """
        tokens = _count(word)
        if tokens is None or not _FEWEST_TOKENS <= tokens <= _MOST_TOKENS:
            raise UserError(
                f"--tokens: must be a count from {_FEWEST_TOKENS:,} to {_MOST_TOKENS:.0e}, such as 300M or 2e9, "
                f"not {shown(word)}"
            )
        return cls(tokens=round(tokens))


def _count(word: str) -> float | None:
    found = _COUNT.fullmatch(word)
    count = float(found[1]) * _FACTORS[found[2]] if found else None
    return count if count is not None and isfinite(count) else None
