"""Time of a step that leaves work out, against one in which all layers train; results/step_time.*

    python benchmarks/step_time.py

Two CPU ranks, ZeRO 1, one engine for each way of training the same twelve layers. In each round every engine takes a
step, in turn; the first round is left out. A step's time is that of the slower rank. It is compared with the step's
operations as a fraction of a full step's. The difference is the part that does not shrink with the layers: the
optimizer, communication, and the fixed cost of a step.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from apollo_ds.config.deepspeed import precision
from apollo_ds.config.load import resolve
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.engine.side_channel import SideChannel
from apollo_ds.growth.stage_model import build_for
from apollo_ds.models.shape import ModelShape
from apollo_ds.planning.step_flops import step_flops
from apollo_ds.schedule.learning_rate import LearningRate
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.stage import Stage

RESULTS = Path(__file__).parent / "results"
ROUNDS = 11
SAMPLES, SEQ_LEN = 8, 128
LAYERS, HIDDEN = 12, 512
SHAPE = ModelShape(
    family="gpt2",
    num_layers=LAYERS,
    hidden_size=HIDDEN,
    num_heads=HIDDEN // 64,
    intermediate_size=4 * HIDDEN,
    vocab_size=8192,
    max_position_embeddings=SEQ_LEN,
)
DEEPSPEED = Path(__file__).parents[1] / "ds_configs" / "zero1_cpu.json"
WAYS = {
    "all twelve layers train": "a step of training from scratch",
    "nine layers frozen": "MSLT's last block",
    "three frozen": "MSLT's second block, with all layers there",
    "top three of six": "bert2BERT's prefixes",
    "eight run": "PLD and RaPTr, four dropped",
    "one layer, twelve times": "Apollo's first stage at its deepest",
    "one layer, twice": "Apollo's first stage at its mean depth",
}


def measure(result: Path) -> None:
    """All rounds on this rank. The first rank writes what they took."""
    processes = Processes.join()
    channel, batch_size = SideChannel(processes), SAMPLES * processes.world_size
    options = _recipe(processes).engine_options(processes.world_size)
    ids = torch.randint(SHAPE.vocab_size, (SAMPLES, SEQ_LEN))
    batch = (ids, torch.arange(SEQ_LEN).expand(SAMPLES, SEQ_LEN), ids)
    engines, plans, flops = {}, {}, {}
    for way, stage in _stages().items():
        schedule = Schedule((stage,), batch_size, LearningRate("constant", 1e-4), seed=0)
        plans[way] = schedule.at(0)
        if way == "eight run":
            plans[way] = replace(plans[way], layer_map=(0, 1, 2, 4, 5, 7, 8, 10), scales=(1.0,) * 8)
        flops[way] = step_flops(schedule, plans[way])
        engines[way] = Engine(build_for(stage), options, processes, seed=0)
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS + 1):
        for way, engine in engines.items():
            channel.exchange(None)
            began = time.perf_counter()
            engine.train_step([batch], [plans[way]])
            times[way].append(max(channel.exchange(time.perf_counter() - began)))
    if processes.is_first:
        measured = {way: {"seconds": times[way][1:], "flops": flops[way]} for way in WAYS}
        result.write_text(json.dumps({"precision": precision(options.deepspeed), "ways": measured}))
    channel.close()
    processes.leave()


def _recipe(processes: Processes) -> Recipe:
    values = {
        "model": SHAPE.model_dump(),
        "method": "scratch",
        "data": "none",
        "out": "none",
        "steps": 100,
        "seq_len": SEQ_LEN,
        "global_batch_size": SAMPLES * processes.world_size,
        "micro_batch_size": SAMPLES,
        "learning_rate": 1e-4,
        "eval_every": 1,
        "save_every": 1,
        "deepspeed": json.loads(DEEPSPEED.read_text()),
    }
    return resolve(values, "benchmark").settled(processes.computes_bf16, processes.world_size)


def _stages() -> dict[str, Stage]:
    """A stage for each of `WAYS`."""
    full = Stage(method="scratch", steps=100, shape=SHAPE, unique_layers=LAYERS, seq_len=SEQ_LEN)
    stages = (
        full,
        replace(full, frozen_layers=9),
        replace(full, frozen_layers=3),
        replace(full, depth_distribution=(1.0,), shallowest=LAYERS // 2, layer_map="prefix", trained_top=3),
        full,
        replace(full, unique_layers=1, shallowest=LAYERS),
        replace(full, unique_layers=1, shallowest=2),
    )
    return dict(zip(WAYS, stages, strict=True))


def table(results: dict[str, Any]) -> str:
    """Markdown; each way as a part of a full step, which its round took just before."""
    ways = results["ways"]
    full = ways["all twelve layers train"]
    lines = [
        f"GPT-2, {LAYERS} layers, hidden {HIDDEN}, two CPU ranks of {SAMPLES} x {SEQ_LEN} tokens, ZeRO 1, "
        f"{results['precision']}; medians of {ROUNDS}, and the middle half of the ratios.",
        "",
        "| what trains | as in | a step | part of the time | middle half | part of the operations |",
        "|---|---|---|---|---|---|",
    ]
    for way, found in ways.items():
        ratios = [own / whole for own, whole in zip(found["seconds"], full["seconds"], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        lines.append(
            f"| {way} | {WAYS[way]} | {statistics.median(found['seconds']) * 1000:.0f} ms | "
            f"{statistics.median(ratios):.1%} | {low:.1%} to {high:.1%} | {found['flops'] / full['flops']:.1%} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure in a fresh pair of ranks and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.result:
        measure(options.result)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        launcher = [str(Path(sys.executable).parent / "deepspeed"), "--num_accelerators", "2"]
        command = [*launcher, "--master_port", "29714", __file__, "--result", str(result)]
        environment = {**os.environ, "DS_ACCELERATOR": "cpu", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environment, stdout=sys.stderr)
        results = json.loads(result.read_text())
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "step_time.json").write_text(json.dumps(results, indent=1))
    (options.out / "step_time.md").write_text(table(results))
    print(table(results))


if __name__ == "__main__":
    main()
