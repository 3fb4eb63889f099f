"""Measures a checkpoint's stall of training, time until it is safe, and size, against DeepSpeed's `save_checkpoint`.

    python benchmarks/checkpoint.py                two CPU ranks; writes results/checkpoint.md

The two ways alternate in one process a rank, on the same engine, each after a training step. The stall is the time in
which the slower rank could not train. A checkpoint of this package is written while training goes on, and the next one
waits for it.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from apollo_ds.checkpoint.progress import Course, LossMemory, Progress
from apollo_ds.checkpoint.writer import CheckpointWriter
from apollo_ds.config.deepspeed import precision
from apollo_ds.config.load import resolve
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.engine.side_channel import SideChannel
from apollo_ds.models.families import family_of, preset
from apollo_ds.models.pretraining import Batch, skeleton
from apollo_ds.models.shape import ModelShape
from apollo_ds.schedule.totals import Totals

RESULTS = Path(__file__).parent / "results"
MODELS = ("bert-small", "bert-base")
REPEATS = 5
SAMPLES, SEQ_LEN = 4, 128
HEADINGS = (
    "model",
    "parameters",
    "precision",
    "step",
    "step while writing",
    "stall, ours",
    "stall, DeepSpeed",
    "ratio",
    "safe after, ours",
    "size, ours",
    "size, DeepSpeed",
)


@dataclass(frozen=True)
class Times:
    """Seconds of the slowest rank, by what was done."""

    channel: SideChannel
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Time what all ranks do together in the `with` statement."""
        self.channel.exchange(None)
        began = time.perf_counter()
        yield
        self.seconds.setdefault(name, []).append(max(self.channel.exchange(time.perf_counter() - began)))

    def medians(self) -> dict[str, float]:
        """Without the first time of each, which warms up."""
        return {name: statistics.median(values[1:]) for name, values in self.seconds.items()}


def measure(preset_name: str, result: Path) -> None:
    """Measure all repeats on this rank. The first rank writes the medians."""
    processes = Processes.join()
    shape, folder = preset(preset_name), result.parent / "checkpoints"
    recipe = _recipe(shape, processes)
    engine = Engine(skeleton(shape, shape.num_layers), recipe.engine_options(processes.world_size), processes, seed=0)
    times = Times(SideChannel(processes))
    _alternate(engine, recipe, folder, times)
    if processes.is_first:
        found = {
            "seconds": times.medians(),
            "bytes": {name: _bytes(next((folder / name).glob(f"step-{REPEATS}"))) for name in ("ours", "deepspeed")},
            "parameters": sum(parameter.numel() for parameter in engine.model.parameters()),
            "precision": precision(recipe.deepspeed),
        }
        result.write_text(json.dumps(found))
    processes.leave()


def _recipe(shape: ModelShape, processes: Processes) -> Recipe:
    values = {
        "model": shape.model_dump(),
        "method": "scratch",
        "data": "none",
        "out": "none",
        "steps": 100,
        "global_batch_size": SAMPLES * processes.world_size,
        "micro_batch_size": SAMPLES,
        "learning_rate": 1e-4,
        "eval_every": 1,
        "save_every": 1,
        "deepspeed": {
            "bf16": {"enabled": "auto"},
            "gradient_clipping": 1.0,
            "zero_optimization": {"stage": 1, "reduce_bucket_size": 50_000_000},
            "zero_allow_untested_optimizer": True,
            "steps_per_print": 1_000_000,
        },
    }
    return resolve(values, "benchmark").settled(processes.computes_bf16, processes.world_size)


def _alternate(engine: Engine, recipe: Recipe, folder: Path, times: Times) -> None:
    """Train and save in either way, in turn."""
    processes, schedule, batch = engine.processes, recipe.schedule(), _batch(recipe.model)
    writer = CheckpointWriter(folder / "ours", processes, keep=1, keep_every=0)
    for step in range(REPEATS + 1):
        with times.measured("step"):
            engine.train_step([batch], [schedule.at(step)])
        with times.measured("ours: safe after"):
            with times.measured("ours: stall"):
                writer.begin(engine.capture(), Progress(Totals(step=step), Course(0, [100]), 0, LossMemory()))
            with times.measured("step while it is written"):
                engine.train_step([batch], [schedule.at(step)])
            writer.finish()
        with times.measured("deepspeed: stall"):
            engine.deepspeed.save_checkpoint(str(folder / "deepspeed"), tag=f"step-{step}")
        if processes.is_first:
            shutil.rmtree(folder / "deepspeed" / f"step-{step - 1}", ignore_errors=True)
    writer.close()


def _batch(shape: ModelShape) -> Batch:
    ids = torch.randint(shape.vocab_size, (SAMPLES, SEQ_LEN))
    scored = family_of(shape).scored_positions(SEQ_LEN)
    return ids, torch.arange(scored).expand(SAMPLES, scored), ids[:, :scored]


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _run(model: str) -> dict[str, Any]:
    """Measure a model in a fresh pair of ranks."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        environment = {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
        launcher = [str(Path(sys.executable).parent / "deepspeed"), "--num_accelerators", "2"]
        script = [__file__, "--model", model, "--result", str(result)]
        command = [*launcher, "--master_port", "29713", *script]
        subprocess.run(command, env=environment, check=True, stdout=sys.stderr)
        return json.loads(result.read_text())


def _row(model: str, measured: dict[str, Any]) -> str:
    seconds, sizes = measured["seconds"], measured["bytes"]
    ours, theirs = seconds["ours: stall"], seconds["deepspeed: stall"]
    return (
        f"| {model} | {measured['parameters'] / 1e6:.0f} M | {measured['precision']} | {seconds['step']:.2f} s | "
        f"{seconds['step while it is written']:.2f} s | {ours:.3f} s | {theirs:.3f} s | {ours / theirs:.2f} | "
        f"{seconds['ours: safe after']:.2f} s | {sizes['ours'] / 1e6:.0f} MB | {sizes['deepspeed'] / 1e6:.0f} MB |"
    )


def main() -> None:
    """As launcher: run all models and write the table. As rank (`--result`): measure one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.result:
        measure(options.model, options.result)
        return
    lines = [
        "# Checkpoints",
        "",
        f"`python benchmarks/checkpoint.py`: two CPU ranks, ZeRO 1, medians of {REPEATS} (the first left out).",
        "",
        f"| {' | '.join(HEADINGS)} |",
        "|---" * len(HEADINGS) + "|",
    ]
    for model in [options.model] if options.model else MODELS:
        lines.append(_row(model, _run(model)))
        print(lines[-1])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "checkpoint.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
