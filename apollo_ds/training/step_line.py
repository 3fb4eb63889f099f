"""Where a run stands, in a line: one that changes in a terminal, one that stays there, and one of a log."""

from dataclasses import dataclass

from apollo_ds.planning.in_words import count_in_words, flops_in_words, time_in_words

WIDEST = 76
"""Columns of a line in a terminal."""
_LONGEST_CLOCK = 100 * 3600
_LONGEST = 1000 * 31_557_600
_HIGHEST_SHARE = 10.0
HEADER = f"{'step':>9}  {'layers':>8}  {'loss':>7}  {'lr':>7}  {'tok/s':>7}  {'cost':>10}  {'saved':>5}  {'left':>8}"


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
            "loss": f"loss {_loss(self.loss)}",
            "speed": f"{_speed(self.tokens_per_second)} tok/s",
            "left": f"{_clock(self.seconds_left)} left",
            "saved": _saved(self.share),
        }
        for least in ("stage", "speed", "saved", "left", "loss"):
            if len("  ".join(parts.values())) <= width:
                break
            del parts[least]
        return "  ".join(parts.values())

    def row(self) -> str:
        """The line that stays, under `HEADER`."""
        saved = _saved(self.share).removeprefix("saved ").removeprefix("cost ")
        cells = (
            f"{self.step:>9,}",
            f"{self._depth:>8}",
            f"{_loss(self.loss):>7}",
            f"{self.learning_rate:>7.1e}",
            f"{_speed(self.tokens_per_second):>7}",
            f"{flops_in_words(self.flops):>10}",
            f"{saved:>5}",
            f"{_clock(self.seconds_left):>8}",
        )
        return "  ".join(cells)

    def logged(self) -> str:
        """The line of a log, which names all that it tells."""
        parts = [
            f"step {self.step:,}/{self.steps:,}",
            f"stage {self.stage}/{self.stages}",
            f"layers {self._depth}",
            f"loss {_loss(self.loss)}",
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
        return f"{self.depth:.3g} of {self.layers}"


def _loss(loss: float) -> str:
    return f"{loss:.4f}" if loss < 100 else f"{loss:.3g}"


def _speed(tokens_per_second: float) -> str:
    if tokens_per_second >= 999_999.5:
        return count_in_words(tokens_per_second)
    return f"{tokens_per_second:,.0f}" if tokens_per_second >= 10 else f"{tokens_per_second:.2g}"


def _saved(share: float) -> str:
    """What of the cost of all layers is saved, or is spent above it."""
    above = share - 1
    if above >= _HIGHEST_SHARE:
        return f"cost >+{_HIGHEST_SHARE:.0%}"
    return f"cost {above:+.0%}" if above >= 0.005 else f"saved {abs(above):.0%}"


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds; days or years where it is long."""
    whole = round(min(seconds, _LONGEST))
    if whole >= _LONGEST_CLOCK:
        return time_in_words(whole)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
