"""Measures the time and peak memory a rank of a growth, against one that first gathers the full state on every rank.

    python benchmarks/growth.py                    all cases, two CPU ranks each, alternating; results/growth.*
    python benchmarks/growth.py bert-base          one case
    python benchmarks/growth.py bert-base --bf16   in bf16 also where the hardware does not compute in it, for memory

Each measurement is a fresh pair of processes: a step of the small model, the growth, three steps of the grown model.
The billion-parameter case, gpt-1b, has no baseline: on a machine of 24 GB the full state on both ranks does not fit.
The same growth of a model a third of that size, gpt-0.3b, has one. gpt-1b is in bf16, for memory, and takes a single
step of 16 tokens a rank afterwards, which the table counts three times: on a CPU that computes bf16 in software it
takes minutes. Memory is resident memory of a rank; its peak is the kernel's high-water mark, reset just before the
growth. Extra memory is the peak minus the memory before or after the growth, whichever is more. Both are read after the
freed memory has gone back to the system. The picture shows the ZeRO 1 cases, all of which double a BERT, with straight
lines fitted by least squares.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import torch
from matplotlib.axes import Axes
from torch import Tensor

from apollo_ds.config.load import resolve
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.hardware import peak_memory_bytes, reset_peak_memory
from apollo_ds.engine.malloc import return_freed_memory
from apollo_ds.engine.processes import Processes
from apollo_ds.engine.restore import grow
from apollo_ds.experiments.line_labels import Label, label_ends
from apollo_ds.growth.state import Shape, State
from apollo_ds.growth.transition import growth_into
from apollo_ds.models.families import family_of, preset
from apollo_ds.models.flops import parameters
from apollo_ds.models.pretraining import Batch
from apollo_ds.models.shape import ModelShape
from apollo_ds.schedule.schedule import StepPlan
from apollo_ds.training.growing import StageEngines
from data_prep.figure_style import WIDTH, empty_figure, line_style, save_picture, style_axes

REPEATS = 3
VARIANTS = ("streaming", "gather everything")


@dataclass(frozen=True)
class Case:
    """A model, the growth it goes through, and the batch of its training steps."""

    preset: str
    changes: dict[str, int]
    layers: tuple[int, int]
    zero_stage: int
    samples_per_rank: int
    repeats: int = REPEATS
    variants: tuple[str, ...] = VARIANTS
    bf16: bool | None = None
    """Whether to compute in bf16; None for what the hardware does fast."""
    seq_len: int = 128
    grown_steps: int = 3
    """How many steps the grown model takes."""


_GPT = {"num_layers": 18, "vocab_size": 50264, "max_position_embeddings": 256}
CASES = {
    "bert-small": Case("bert-small", {}, (2, 4), 1, 4),
    "bert-base": Case("bert-base", {}, (6, 12), 1, 4),
    "bert-base-24": Case("bert-base", {"num_layers": 24}, (12, 24), 1, 4),
    "bert-large": Case("bert-large", {}, (12, 24), 1, 4, 2),
    "gpt-0.3b": Case("gpt2-large", {**_GPT, "hidden_size": 1024, "num_heads": 16, "intermediate_size": 4096},
                     (2, 18), 3, 1, 1),
    "gpt-1b": Case("gpt2-large", {**_GPT, "hidden_size": 2048, "num_heads": 32, "intermediate_size": 8192},
                   (2, 18), 3, 1, 1, VARIANTS[:1], bf16=True, seq_len=16, grown_steps=1),
}  # fmt: skip
COLUMNS = ("case", "layers", "ZeRO", "parameters", "growth", "runs", "seconds", "three steps", "shard a rank",
           "peak extra", "in shards")  # fmt: skip
LINE = [name for name, case in CASES.items() if case.zero_stage == 1]
# DeepSpeed's default buffers are made for large GPUs: several GB a rank at stage 3.
SMALL_BUFFERS = {
    "sub_group_size": 100_000_000,
    "reduce_bucket_size": 50_000_000,
    "stage3_max_live_parameters": 200_000_000,
    "stage3_max_reuse_distance": 200_000_000,
    "stage3_prefetch_bucket_size": 50_000_000,
}


def measure(case: Case, variant: str, result: Path) -> None:
    """One measurement. The first rank writes the result."""
    processes = Processes.join()
    recipe = _recipe(case, processes)
    engines, schedule = StageEngines(recipe, processes), recipe.schedule()
    small, large = schedule.stages
    batch = _batch(case, recipe.model)
    engine = engines.build(schedule, 0, initialised=True)
    engine.train_step([batch], [schedule.at(0)])
    return_freed_memory()
    before = psutil.Process().memory_info().rss
    reset_peak_memory(processes.device)
    started = time.perf_counter()
    state = engine.capture()
    shard = sum(t.numel() * t.element_size() for part in state.slices.values() for t in part.tensors.values())
    source = GatheredState(state) if variant == "gather everything" else state
    engine.close()
    engine = engines.build(schedule, 1, initialised=False)
    grow(engine, source, growth_into(large, small, seed=0))
    del state, source
    processes.barrier()
    seconds = time.perf_counter() - started
    peak = peak_memory_bytes(processes.device)
    return_freed_memory()
    after = psutil.Process().memory_info().rss
    steps = _timed_steps(engine, batch, [schedule.at(step) for step in range(4, 4 + case.grown_steps)])
    if processes.is_first:
        found = {
            "parameters": parameters(large.shape, large.unique_layers),
            "seconds": seconds,
            "three_steps_seconds": 3 * statistics.mean(steps),
            "shard_bytes": shard,
            "resident_before": before,
            "resident_after": after,
            "peak": peak,
            "peak_extra": peak - max(before, after),
        }
        result.write_text(json.dumps(found))
    processes.leave()


def _recipe(case: Case, processes: Processes) -> Recipe:
    values = {
        "model": preset(case.preset).model_copy(update=case.changes).model_dump(),
        "method": {"name": "apollo", "layers": list(case.layers), "grow_at": [0.5]},
        "data": "none",
        "out": "none",
        "steps": 8,
        "seq_len": case.seq_len,
        "global_batch_size": case.samples_per_rank * processes.world_size,
        "micro_batch_size": case.samples_per_rank,
        "learning_rate": 1e-4,
        "eval_every": 8,
        "save_every": 8,
        "deepspeed": {
            "bf16": {"enabled": "auto" if case.bf16 is None else case.bf16},
            "zero_optimization": {"stage": case.zero_stage, **(SMALL_BUFFERS if case.zero_stage == 3 else {})},
            "gradient_clipping": 1.0,
            "steps_per_print": 1_000_000,
        },
    }
    return resolve(values, "benchmark").settled(processes.computes_bf16, processes.world_size)


def _batch(case: Case, shape: ModelShape) -> Batch:
    ids = torch.randint(0, shape.vocab_size, (case.samples_per_rank, case.seq_len))
    labels = ids[:, : family_of(shape).scored_positions(case.seq_len)]
    return ids, torch.arange(labels.shape[1]).expand(labels.shape), labels


def _timed_steps(engine: Engine, batch: Batch, plans: Sequence[StepPlan]) -> list[float]:
    """Seconds of each step."""
    seconds = []
    for plan in plans:
        started = time.perf_counter()
        engine.train_step([batch], [plan])
        seconds.append(time.perf_counter() - started)
    return seconds


class GatheredState:
    """The baseline: the whole state on every rank before anything is rebuilt."""

    def __init__(self, state: State) -> None:
        self.counters, self._state = state.counters, state
        self._whole = {
            name: {key: state.gather(name, key, torch.device("cpu")) for key in state.counters.tensors}
            for name in state.names()
        }

    def names(self) -> Iterator[str]:
        """Every parameter."""
        return self._state.names()

    def shape(self, name: str) -> Shape:
        """The shape of a whole parameter."""
        return self._state.shape(name)

    def gather(self, name: str, tensor: str, device: torch.device) -> Tensor:
        """A parameter's tensor, which every rank has whole."""
        return self._whole[name][tensor].to(device)

    def release(self, name: str, tensor: str) -> None:
        """Free a tensor."""
        del self._whole[name][tensor]


def run(name: str, variant: str, further: Sequence[str] = ()) -> dict[str, float]:
    """Measure in a fresh pair of ranks."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        launcher = [str(Path(sys.executable).parent / "deepspeed"), "--num_accelerators", "2"]
        words = [name, "--variant", variant, "--result", str(result), *further]
        command = [*launcher, "--master_port", "29715", __file__, *words]
        environment = {**os.environ, "DS_ACCELERATOR": "cpu", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        return json.loads(result.read_text())


def main() -> None:
    """Measure all or some cases and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
    parser.add_argument("--bf16", action="store_true", help="compute in bf16 whatever the hardware")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        case = CASES[options.cases[0]]
        measure(replace(case, bf16=options.bf16 or case.bf16), options.variant, options.result)
        return
    options.out.mkdir(exist_ok=True)
    path = options.out / "growth.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for name in options.cases:
        case = CASES[name]
        further = ["--bf16"] if options.bf16 else []
        runs = [{variant: run(name, variant, further) for variant in case.variants} for _ in range(case.repeats)]
        results[name] = {
            variant: {key: statistics.median(r[variant][key] for r in runs) for key in runs[0][variant]}
            for variant in case.variants
        }
        path.write_text(json.dumps(results, indent=2))
        print(table({name: results[name]}), flush=True)
    results = {name: results[name] for name in CASES if name in results}
    (options.out / "growth.md").write_text(table(results))
    if all(name in results for name in LINE):
        draw(results, options.out / "growth.png")


def draw(results: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Time and extra memory against parameters, with fitted lines and the part of the variance they explain."""
    figure = empty_figure(WIDTH, 3.2)
    measures = (("seconds", 1, "time of the growth (seconds)"), ("peak_extra", 1e9, "extra memory of a rank (GB)"))
    names: dict[Axes, list[Label]] = {}
    for axes, (key, unit, label) in zip(figure.subplots(1, 2), measures, strict=True):
        style_axes(axes)
        names[axes] = []
        for number, variant in enumerate(VARIANTS):
            look = {"color": line_style(number)["color"]}
            x = np.array([results[name][variant]["parameters"] / 1e6 for name in LINE])
            y = np.array([results[name][variant][key] / unit for name in LINE])
            slope, start = np.polyfit(x, y, 1)
            explained = 1 - ((y - slope * x - start) ** 2).sum() / ((y - y.mean()) ** 2).sum()
            along = np.array([0, x.max()])
            axes.plot(x, y, line_style(number)["marker"], **look)
            axes.plot(along, slope * along + start, linewidth=1.2, **look)
            ends = Label(x.max(), slope * x.max() + start, f"{variant},\nR² {explained:.3f}", look["color"])
            names[axes].append(ends)
        axes.set(xlabel="parameters of the grown model (millions)", ylabel=label, ylim=(0, None), xlim=(0, None))
    label_ends(figure, names)
    save_picture(figure, path)


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Medians as Markdown; memory in units of the shard of the small model that a rank owns."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for name, variants in results.items():
        case = CASES[name]
        for variant, r in variants.items():
            cells = (
                name,
                f"{case.layers[0]} -> {case.layers[1]}",
                str(case.zero_stage),
                f"{r['parameters'] / 1e6:,.0f} M",
                variant,
                str(case.repeats),
                f"{r['seconds']:.2f}",
                f"{r['three_steps_seconds']:.2f}" + ("" if case.grown_steps > 1 else " (3 x one)"),
                f"{r['shard_bytes'] / 1e6:,.0f} MB",
                f"{r['peak_extra'] / 1e6:,.0f} MB",
                f"{r['peak_extra'] / r['shard_bytes']:.2f}",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
