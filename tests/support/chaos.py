"""Kill -9 at random: of a rank or the launcher, at any time; after each, the same command. Nothing may be different.

python tests/support/chaos.py --kills 100 --ranks 1 2 3 --out benchmarks/results/chaos.md
"""

import argparse
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import mkdtemp

import psutil
from launching import SCRIPT, environment, rank_of
from project import PROJECT
from recipes import tiny, write
from run_bench import contents_of_checkpoint
from runs import trained
from shared_memory import shared_memory

from apollo_ds.config.recipe import Recipe
from apollo_ds.experiments.events import read_metrics

_SECONDS_FOR_A_RUN = 900
_START_UP_SECONDS = 15.0


def chaos(folder: Path, kills: int, steps: int, seed: int, ranks: int = 2) -> list[str]:
    """Train twice on so many ranks, once under fire, and compare; returns a line for each kill.

    Raises:
        AssertionError: the two differ, or something is left in /dev/shm.
    """
    changes = {"steps": steps, "save_every": 20, "eval_every": 100, "log_every": 1, "keep_checkpoints": 1}
    batch = {"global_batch_size": 12, "micro_batch_size": 4}
    calm, hunted = (tiny("gpt2", folder / name, **changes, **batch) for name in ("calm", "hunted"))
    dice = random.Random(seed)
    memory = shared_memory()
    said = []
    for number in range(kills):
        said.append(f"{ranks} ranks, {number + 1}: {_start_and_kill(hunted, folder, ranks, dice)}")
        print(said[-1], flush=True)
    for recipe in (hunted, calm):
        _finish(recipe, folder, ranks)
    assert trained(hunted) == trained(calm), "metrics differ"
    weights = [contents_of_checkpoint(recipe.out / f"checkpoints/step-{steps}") for recipe in (calm, hunted)]
    assert len(weights[0]) == ranks
    assert weights[0] == weights[1], "weights and moments differ"
    assert shared_memory() <= memory, f"left in /dev/shm: {sorted(shared_memory() - memory)}"
    return said


def _start(recipe: Recipe, folder: Path, ranks: int) -> "subprocess.Popen[bytes]":
    path = write(recipe, folder / f"{recipe.out.name}.yaml")
    with (folder / f"{recipe.out.name}.log").open("ab") as log:
        return subprocess.Popen(
            ["bash", SCRIPT, path, "--ranks", str(ranks)],
            cwd=PROJECT,
            env=environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _start_and_kill(recipe: Recipe, folder: Path, ranks: int, dice: random.Random) -> str:
    """Start the run, kill one of its processes, and say what was hit and what it was doing."""
    before = _starts(recipe)
    started = _start(recipe, folder, ranks)
    began = time.monotonic()
    if dice.random() < 0.3:
        _wait(started, dice.uniform(0, _START_UP_SECONDS))
    else:
        while _starts(recipe) == before and started.poll() is None and time.monotonic() - began < _SECONDS_FOR_A_RUN:
            time.sleep(0.05)
        _wait(started, dice.uniform(0, 3))
    victims = _processes(started)
    if not victims:
        return f"ended by itself with code {started.wait()}"
    kind, victim = dice.choice(victims)
    step = _last_step(recipe)
    try:
        victim.kill()
    except psutil.NoSuchProcess:
        kind = f"{kind} (which had just ended)"
    started.poll()
    return f"{kind} after {time.monotonic() - began:.1f} s, step {step}"


def _wait(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.01)


def _processes(started: "subprocess.Popen[bytes]") -> list[tuple[str, psutil.Process]]:
    """The job's processes with what they are: the launcher, and ranks."""
    try:
        top = psutil.Process(started.pid)
        ranks = [(rank_of(process), process) for process in top.children()]
    except psutil.Error:
        return []
    return [("launcher", top), *((f"rank {rank}", process) for rank, process in ranks if rank is not None)]


def _starts(recipe: Recipe) -> set[str]:
    """TensorBoard's files, of which every start makes one when it begins to train."""
    return {path.name for path in recipe.out.glob("events.out.tfevents.*")}


def _last_step(recipe: Recipe) -> int:
    if not (recipe.out / "metrics.jsonl").is_file():
        return 0
    return max((e["step"] for e in read_metrics(recipe.out / "metrics.jsonl") if e["event"] == "step"), default=0)


def _finish(recipe: Recipe, folder: Path, ranks: int) -> None:
    """Start the same command until the run is over. A job before it may not be quite dead."""
    for _ in range(3):
        code = _start(recipe, folder, ranks).wait(_SECONDS_FOR_A_RUN)
        if code == 0 and read_metrics(recipe.out / "metrics.jsonl")[-1]["event"] == "end":
            return
    raise AssertionError(f"{recipe.out}: does not come to its end: {(folder / 'hunted.log').read_text()[-3000:]}")


def main() -> None:
    """Print what was killed, and write it to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of all numbers of ranks together")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    began = time.monotonic()
    said = []
    for number, ranks in enumerate(options.ranks):
        kills = options.kills // len(options.ranks) + (number < options.kills % len(options.ranks))
        folder = Path(mkdtemp(prefix="apollo-ds-chaos-"))
        said += chaos(folder, kills, options.steps, options.seed + ranks, ranks)
        shutil.rmtree(folder)
    hit = Counter(line.split(": ", 1)[1].split(" after")[0] for line in said)
    options.out.write_text(
        f"# {options.kills} kill -9, seed {options.seed}\n\n"
        f"`{' '.join(['python', 'tests/support/chaos.py', *sys.argv[1:]])}`: GPT-2, six layers, grown 1 -> 3 -> 6, "
        f"fp32, ZeRO 1, {', '.join(map(str, options.ranks))} CPU ranks, {options.steps:,} steps, `save_every=20`, "
        "`keep_checkpoints=1`.\n\n"
        "Weights, moments and metrics (steps, evaluations, growths) at the end are equal to the bit to those of a run "
        "on as many ranks that nobody disturbed, and nothing is left in /dev/shm. "
        f"{time.monotonic() - began:.0f} s in all; hit: "
        f"{', '.join(f'{kind} {count}' for kind, count in sorted(hit.items()))}.\n\n"
        + "\n".join(f"- {line}" for line in said)
        + "\n"
    )


if __name__ == "__main__":
    main()
