"""What a step of one layer costs beside one of all: at each ZeRO stage, and in the micro-batches of full depth."""

from statistics import median
from typing import Any

from apollo_ds.engine.processes import Processes
from apollo_ds.planning.zero import under_zero
from speed.bare_steps import bare_steps
from speed.settings import SETTINGS, recipe_of

_ROUNDS = 7
_WARM_UP = 2
_MICRO_BATCHES = 4
"""Into which full depth has to cut a rank's samples, in the case where one layer need not."""


def of_ranks(name: str, processes: Processes) -> dict[str, Any]:
    """Milliseconds a step by layers and by way, medians of steps in turn; on all ranks together."""
    setting = SETTINGS[name]
    ways = {f"ZeRO {stage}": (stage, 1) for stage in range(4)}
    ways[f"ZeRO 1, {_MICRO_BATCHES} micro-batches"] = (1, _MICRO_BATCHES)
    cases = [(layers, way) for layers in (1, setting.shape.num_layers) for way in ways]
    loops = []
    for layers, way in cases:
        stage, micro_batches = ways[way]
        recipe = recipe_of(setting, processes, layers=layers)
        loops.append(bare_steps(under_zero(recipe, stage), processes, micro_batches))
        loops[-1](_WARM_UP)
    seconds: list[list[float]] = [[] for _ in cases]
    for number in range(_ROUNDS):
        for place in range(len(cases)):
            case = (place + number) % len(cases)
            seconds[case].append(loops[case](1))
    found: dict[str, Any] = {"ranks": processes.world_size, "rounds": _ROUNDS, "micro_batches": _MICRO_BATCHES}
    for (layers, way), times in zip(cases, seconds, strict=True):
        found.setdefault(f"{layers} layers" if layers > 1 else "1 layer", {})[way] = median(times) * 1000
    return found
