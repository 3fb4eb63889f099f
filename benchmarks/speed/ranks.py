"""Two ranks against one with the same global batch: what a step costs more, and on what."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from apollo_ds.engine import Processes
from speed.bare_steps import bare_steps
from speed.profiles import profile_steps
from speed.settings import SETTINGS, recipe_of

_STEPS = 10
_WARM_UP = 3


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Milliseconds a step of one CPU rank with two threads and of two with one each, in turn; medians, and groups."""
    runs: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    for _ in range(rounds):
        for ranks, results in runs.items():
            results.append(_run(name, ranks))
    return {str(ranks): _median(results) for ranks, results in runs.items()}


def _run(name: str, ranks: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        launcher = [Path(sys.executable).parent / "deepspeed", "--num_accelerators", str(ranks)]
        script = [Path(__file__).parents[1] / "throughput.py", "--rank-of", name, "--result", result]
        environment = {**os.environ, "OMP_NUM_THREADS": str(2 // ranks), "DS_ACCELERATOR": "cpu"}
        subprocess.run(
            [*launcher, "--master_port", "29716", *script], check=True, env=environment, stdout=subprocess.DEVNULL
        )
        return json.loads(result.read_text())


def be_a_rank(name: str, result: Path) -> None:
    """Train on this rank; the first one writes the median step and the groups of some more."""
    processes = Processes.join()
    steps = bare_steps(recipe_of(SETTINGS[name], processes), processes)
    steps(_WARM_UP)
    seconds = statistics.median(steps(1) for _ in range(_STEPS))
    profiled = profile_steps(steps, 3)
    if processes.is_first:
        result.write_text(json.dumps({"milliseconds": seconds * 1000, "groups": profiled["groups"]}))
    processes.leave()


def _median(results: list[dict[str, Any]]) -> dict[str, Any]:
    groups = {group for result in results for group in result["groups"]}
    return {
        "milliseconds": statistics.median(result["milliseconds"] for result in results),
        "groups": {g: statistics.median(result["groups"].get(g, 0.0) for result in results) for g in sorted(groups)},
    }
