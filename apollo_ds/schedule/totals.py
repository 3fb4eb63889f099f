"""What a run has used up."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Totals:
    """What a run has used since its first step, across restarts."""

    step: int = 0
    """Optimizer steps."""
    tokens: int = 0
    """Tokens that all ranks together have trained on."""
    flops: float = 0.0
    """Floating-point operations of all ranks together, by the formulas of `apollo-ds plan`."""
    seconds: float = 0.0
    """Time that the run has trained, without the time in which it was stopped."""

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.step + other.step,
            self.tokens + other.tokens,
            self.flops + other.flops,
            self.seconds + other.seconds,
        )
