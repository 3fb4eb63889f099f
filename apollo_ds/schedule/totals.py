"""What a run has used up."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Totals:
    """What a run has used since its first step, across restarts."""

    step: int = 0
    tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.step + other.step,
            self.tokens + other.tokens,
            self.flops + other.flops,
            self.seconds + other.seconds,
        )
