"""Where a run stands, in a line: one that changes in a terminal, one that stays there, and one of a log."""

from dataclasses import dataclass

from apollo_ds.planning.in_words import count_in_words, flops_in_words, loss_in_words

WIDEST = 76
"""Columns of a line in a terminal."""
_DAY = 86_400
_LONGEST_CLOCK, _LONGEST = 100 * 3600, 1000 * _DAY
_MOST_ABOVE = 9.99
_COLUMNS = {"step": 9, "layers": 8, "loss": 7, "lr": 7, "tok/s": 7, "cost": 10, "saved": 6, "left": 8}
"""Of a line that stays: each one's width."""
_FIRST_TO_GO = {
    "row": ("lr", "layers", "cost", "tok/s", "saved"),
    "live": ("stage", "speed", "saved", "left", "loss"),
}
"""What a narrow terminal leaves out, the least important first."""


def columns(width: int) -> list[str]:
    """Those of the lines that stay for which a terminal is wide enough."""
    chosen = list(_COLUMNS)
    for name in _FIRST_TO_GO["row"]:
        if sum(_COLUMNS[name] + 2 for name in chosen) - 2 <= width:
            break
        chosen.remove(name)
    return chosen


def header(chosen: list[str]) -> str:
    """The names of the columns."""
    return "  ".join(f"{name:>{_COLUMNS[name]}}" for name in chosen)


@dataclass(frozen=True)
class Standing:
    """Where a run stands after a step."""

    step: int
    steps: int
    stage: int
    """From 1 to `stages`."""
    stages: int
    depth: float
    """How many layers have run; the mean where micro-batches differ."""
    layers: int
    """How many different ones the model has now."""
    loss: float
    """Of training, in nats a token."""
    grad_norm: float
    learning_rate: float
    new_learning_rate: float | None
    """That of what the last growth added, as long as it is another."""
    tokens_per_second: float
    flops: float
    """Operations so far."""
    share: float
    """These, with what the run has started from, in units of those of all layers: see `planning/all_layers.py`."""
    seconds_left: float

    def live(self, width: int) -> str:
        """The line that changes. Where it would be too wide it leaves out first what matters least."""
        parts = {
            "step": f"step {self.step:,}/{self.steps:,}",
            "stage": f"stage {self.stage}/{self.stages}",
            "loss": f"loss {loss_in_words(self.loss)}",
            "speed": f"{_speed(self.tokens_per_second)} tok/s",
            "left": f"{_clock(self.seconds_left)} left",
            "saved": _saved(self.share),
        }
        for least in _FIRST_TO_GO["live"]:
            if len("  ".join(parts.values())) <= width:
                break
            del parts[least]
        return "  ".join(parts.values())

    def row(self, chosen: list[str]) -> str:
        """The line that stays, under the `header` of these columns."""
        above = self.share - 1
        cells = {
            "step": f"{self.step:,}",
            "layers": self._depth,
            "loss": loss_in_words(self.loss),
            "lr": f"{self.learning_rate:.1e}",
            "tok/s": _speed(self.tokens_per_second),
            "cost": flops_in_words(self.flops),
            "saved": f"{round(-above, 2) + 0.0:.0%}" if above < _MOST_ABOVE else f"<-{_MOST_ABOVE:.0%}",  # no -0%
            "left": _clock(self.seconds_left),
        }
        return "  ".join(f"{cells[name]:>{_COLUMNS[name]}}" for name in chosen)

    def logged(self) -> str:
        """The line of a log, which names all that it tells."""
        parts = [
            f"step {self.step:,}/{self.steps:,}",
            f"stage {self.stage}/{self.stages}",
            f"layers {self._depth}",
            f"loss {loss_in_words(self.loss)}",
            f"grad {self.grad_norm:.2f}",
            f"lr {self.learning_rate:.2e}",
            *([] if self.new_learning_rate is None else [f"lr of what is new {self.new_learning_rate:.2e}"]),
            f"{_speed(self.tokens_per_second)} tok/s",
            flops_in_words(self.flops),
            _saved(self.share),
            f"{_clock(self.seconds_left)} left",
        ]
        return "  ".join(parts)

    @property
    def _depth(self) -> str:
        return f"{self.depth:.3g}/{self.layers}"


def _speed(tokens_per_second: float) -> str:
    if tokens_per_second >= 999_999.5:
        return count_in_words(tokens_per_second)
    return f"{tokens_per_second:,.0f}" if tokens_per_second >= 10 else f"{tokens_per_second:.2g}"


def _saved(share: float) -> str:
    """What of the cost of all layers is saved, or is spent above it."""
    above = share - 1
    if above >= _MOST_ABOVE:
        return f"cost >+{_MOST_ABOVE:.0%}"
    return f"cost {above:+.0%}" if above >= 0.005 else f"saved {abs(above):.0%}"


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds; days where it is long."""
    whole = round(min(seconds, _LONGEST))
    if whole >= _LONGEST_CLOCK:
        return f"{whole / _DAY:.0f} days" if whole < _LONGEST else ">2 years"
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
