"""Two ranks against one with the same global batch: what a step costs more, and on what."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import deepspeed.comm as dist
import torch

from apollo_ds.config.deepspeed import zero_stage
from apollo_ds.engine.processes import Processes
from apollo_ds.models.pretraining import skeleton
from speed.bare_steps import bare_steps
from speed.profiles import profile_steps
from speed.settings import SETTINGS, recipe_of

_STEPS = 10
_WARM_UP = 3


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Milliseconds a step of one CPU rank with two threads and of two with one each, in turn; medians, and groups.

    `more` is the median of what each turn's two ranks took more than its one.
    """
    runs: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    for number in range(rounds):
        for ranks in (1, 2) if number % 2 else (2, 1):
            runs[ranks].append(run_ranks("ranks", name, ranks))
    more = [_more(one, two) for one, two in zip(runs[1], runs[2], strict=True)]
    return {"rounds": rounds, "1": _median(runs[1]), "2": _median(runs[2]), "more": _median(more)}


def run_ranks(part: str, name: str, ranks: int) -> dict[str, Any]:
    """What the first of so many new CPU ranks finds in a part of the measurements; two threads for all of them."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        launcher = [str(Path(sys.executable).parent / "deepspeed"), "--num_accelerators", str(ranks)]
        script = [str(Path(__file__).parents[1] / "throughput.py"), "--rank-of", part, name, "--result", str(result)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(2 // ranks), "DS_ACCELERATOR": "cpu"}
        subprocess.run(
            [*launcher, "--master_port", "29716", *script], check=True, env=environment, stdout=subprocess.DEVNULL
        )
        return json.loads(result.read_text())


def of_ranks(name: str, processes: Processes) -> dict[str, Any]:
    """The median step and the groups of some more, on all ranks together."""
    recipe = recipe_of(SETTINGS[name], processes)
    steps = bare_steps(recipe, processes)
    steps(_WARM_UP)
    seconds = statistics.median(steps(1) for _ in range(_STEPS))
    profiled = profile_steps(steps, 3)
    model = skeleton(recipe.model, recipe.model.num_layers)
    dtype = torch.bfloat16 if processes.computes_bf16 else torch.float32
    exchange = _exchange_seconds(sum(parameter.numel() for parameter in model.parameters()), dtype, processes)
    return {
        "zero_stage": zero_stage(recipe.deepspeed),
        "milliseconds": seconds * 1000,
        "profiled_milliseconds": profiled["milliseconds"],
        "exchange_milliseconds": exchange * 1000,
        "groups": profiled["groups"],
    }


def _exchange_seconds(parameters: int, dtype: torch.dtype, processes: Processes) -> float:
    """What ZeRO 1 sends in a step, by itself: gradients of so many parameters averaged, and their weights gathered."""
    share = torch.zeros(-(-parameters // processes.world_size), dtype=dtype)
    whole = torch.zeros(len(share) * processes.world_size, dtype=dtype)

    def exchange() -> float:
        processes.barrier()
        began = time.perf_counter()
        dist.all_reduce(whole)
        dist.all_gather_into_tensor(whole, share)
        return time.perf_counter() - began

    return statistics.median(exchange() for _ in range(_STEPS))


def _more(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    names = {*one["groups"], *two["groups"]}
    groups = {name: two["groups"].get(name, 0.0) - one["groups"].get(name, 0.0) for name in names}
    return {"groups": groups, **{key: two[key] - one[key] for key in one if key.endswith("milliseconds")}}


def _median(results: list[dict[str, Any]]) -> dict[str, Any]:
    groups = {group for result in results for group in result["groups"]}
    numbers = [key for key in results[0] if key != "groups"]
    return {
        **{key: statistics.median(result[key] for result in results) for key in numbers},
        "groups": {g: statistics.median(result["groups"].get(g, 0.0) for result in results) for g in sorted(groups)},
    }
