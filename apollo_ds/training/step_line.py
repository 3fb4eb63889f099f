"""The progress of a run as one line: the live line of a terminal, a line that stays there, or a line of a log."""

from dataclasses import dataclass

from apollo_ds.planning.in_words import count_in_words, flops_in_words, loss_in_words

WIDEST = 76
"""The most characters of a line in a terminal."""
_DAY = 86_400
_LONGEST_CLOCK, _LONGEST = 100 * 3600, 1000 * _DAY
_MOST_ABOVE = 9.99
_COLUMNS = {"step": 9, "layers": 8, "loss": 7, "lr": 7, "tok/s": 7, "cost": 10, "saved": 6, "left": 8}
"""The width of each column of a line that stays."""
_FIRST_TO_GO = {
    "row": ("lr", "layers", "cost", "tok/s", "saved"),
    "live": ("stage", "speed", "saved", "left", "loss"),
}
"""The parts that a narrow terminal leaves out, the least important first."""


def columns(width: int) -> list[str]:
    """The columns of a line that stays, as many as fit in a terminal of this width."""
    chosen = list(_COLUMNS)
    for name in _FIRST_TO_GO["row"]:
        if sum(_COLUMNS[name] + 2 for name in chosen) - 2 <= width:
            break
        chosen.remove(name)
    return chosen


def header(chosen: list[str]) -> str:
    """The line with the names of the columns."""
    return "  ".join(f"{name:>{_COLUMNS[name]}}" for name in chosen)


@dataclass(frozen=True)
class Standing:
    """The progress of a run after a step."""

    step: int
    steps: int
    stage: int
    """The number of the stage, from 1 to `stages`."""
    stages: int
    depth: float
    """The number of layers that ran; the mean if micro-batches differ."""
    layers: int
    """The number of different layers that the model has now."""
    loss: float
    """The training loss, in nats a token."""
    grad_norm: float
    learning_rate: float
    new_learning_rate: float | None
    """The learning rate of the parameters that the last growth added; None if it is the same as the others'."""
    tokens_per_second: float
    flops: float
    """The floating-point operations of the run so far."""
    share: float
    """The operations so far, including the source's, divided by those of training all layers
    (`planning/all_layers.py`)."""
    seconds_left: float

    def live(self, width: int) -> str:
        """The live line. If it would be too wide, the least important parts are left out first."""
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
        """A line that stays, under the `header` of the same columns."""
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
        """A line of a log, in which each value has its name."""
        parts = [
            f"step {self.step:,}/{self.steps:,}",
            f"stage {self.stage}/{self.stages}",
            f"layers {self._depth}",
            f"loss {loss_in_words(self.loss)}",
            f"grad {self.grad_norm:.2f}",
            f"lr {self.learning_rate:.2e}",
            *([] if self.new_learning_rate is None else [f"lr of new parameters {self.new_learning_rate:.2e}"]),
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
    """The saved or added cost relative to training all layers, such as `saved 25%` or `cost +10%`."""
    above = share - 1
    if above >= _MOST_ABOVE:
        return f"cost >+{_MOST_ABOVE:.0%}"
    return f"cost {above:+.0%}" if above >= 0.005 else f"saved {abs(above):.0%}"


def _clock(seconds: float) -> str:
    """A time as hours, minutes and seconds, such as `1:02:03`; in days from 100 hours on."""
    whole = round(min(seconds, _LONGEST))
    if whole >= _LONGEST_CLOCK:
        return f"{whole / _DAY:.0f} days" if whole < _LONGEST else ">2 years"
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
