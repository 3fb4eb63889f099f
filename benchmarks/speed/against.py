"""Seconds a step of whole training loops on the same batches, each in a process of its own, in turn."""

from statistics import median, quantiles
from typing import Any

from speed.contestants import by_hand, ours, stock
from speed.pacing import Paced
from speed.settings import Setting

_BURST = 2
_WARM_UP = 3
_STOCK_EVERY = 3
"""The stock loops, which are far off, take part in one of so many rounds; the close race has them all."""


def measure(setting: Setting, rounds: int) -> dict[str, Any]:
    """Medians over rounds, at a twelfth, a quarter, a half and all of the layers; ratios are medians of each round's.

    In each round each loop takes some steps; the order changes from round to round. Steps of one layer are short, so
    other load on the machine disturbs them more. They get three times as many rounds.
    """
    full = setting.shape.num_layers
    return {
        str(depth): _at(setting, depth, rounds * (3 if depth == 1 else 1))
        for depth in sorted({1, full // 4, full // 2, full})
    }


def _at(setting: Setting, layers: int, rounds: int) -> dict[str, Any]:
    loops = {
        "apollo_ds": Paced(ours, setting, layers=layers),
        "transformers.Trainer": Paced(stock, setting, layers, dropout=0.1),
        "transformers.Trainer, no dropout": Paced(stock, setting, layers, dropout=0.0),
        "by hand": Paced(by_hand, setting, layers),
    }
    for loop in loops.values():
        loop.steps(_WARM_UP)
    seconds: dict[str, dict[int, float]] = {name: {} for name in loops}
    for number in range(rounds):
        names = [name for name in loops if number % _STOCK_EVERY == 0 or not name.startswith("transformers")]
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            seconds[name][number] = loops[name].steps(_BURST) / _BURST
    for loop in loops.values():
        loop.close()
    own = seconds["apollo_ds"]
    return {
        name: {
            "rounds": len(times),
            "seconds": median(times.values()),
            "quartiles": quantiles(times.values(), n=4)[::2],
            "tokens_per_second": setting.samples * setting.seq_len / median(times.values()),
            "ours_times_as_fast": median(theirs / own[number] for number, theirs in times.items()),
        }
        for name, times in seconds.items()
    }
