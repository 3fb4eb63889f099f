"""Seconds a step of whole training loops on the same batches, in turn."""

from statistics import median, quantiles
from typing import Any

from apollo_ds.engine import Processes
from speed.contestants import by_hand, ours, stock
from speed.pacing import Paced
from speed.settings import Setting

_BURST = 2
_WARM_UP = 3


def measure(setting: Setting, processes: Processes, rounds: int) -> dict[str, Any]:
    """Medians over rounds, at a twelfth, a quarter, a half and all of the layers; ratios are medians of each round's.

    In each round every loop takes some steps, in an order that turns from round to round. One layer's steps are short,
    so that what else the machine does weighs more: they have three times the rounds.
    """
    full = setting.shape.num_layers
    return {
        str(depth): _at(setting, processes, depth, rounds * (3 if depth == 1 else 1))
        for depth in sorted({1, full // 4, full // 2, full})
    }


def _at(setting: Setting, processes: Processes, layers: int, rounds: int) -> dict[str, Any]:
    loops = {
        "apollo_ds": Paced(ours(setting, processes, layers=layers)),
        "transformers.Trainer": Paced(stock(setting, processes, layers, dropout=0.1)),
        "transformers.Trainer, no dropout": Paced(stock(setting, processes, layers, dropout=0.0)),
        "by hand": Paced(by_hand(setting, processes, layers)),
    }
    for loop in loops.values():
        loop.steps(_WARM_UP)
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    names = list(loops)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            seconds[name].append(loops[name].steps(_BURST) / _BURST)
    own = seconds["apollo_ds"]
    return {
        name: {
            "rounds": rounds,
            "seconds": median(times),
            "quartiles": quantiles(times, n=4)[::2],
            "tokens_per_second": setting.samples * setting.seq_len / median(times),
            "ours_times_as_fast": median(theirs / mine for theirs, mine in zip(times, own, strict=True)),
        }
        for name, times in seconds.items()
    }
