"""Measures a rank's memory and reads at a start, a growth and a resume, against its share of the training state.

    python benchmarks/memory.py                     all cases; results/memory.*
    python benchmarks/memory.py gpt-0.3b-zero1-4    one case: GPT-2 of 0.3 billion parameters, ZeRO 1, four ranks

Each case takes three fresh sets of CPU ranks. The first ones start a run of 18 layers. The second ones start one of 4
layers, grow it to 18, and save it. The third ones resume it. No step is taken. All compute in bf16, whatever the
hardware.

A rank's share is the state that it keeps: weights in bf16, and the fp32 weights and two moments that it owns. Memory is
resident memory minus that of the process before it built anything; its peak is the kernel's high-water mark. The limit
is 1.3 times the share (both shares at a growth), plus one block or the embeddings, whichever is larger, in fp32. Bytes
read are the kernel's `rchar` of all ranks together, divided by the size of the checkpoint.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
from rich.console import Console

from apollo_ds.config.load import resolve
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine import layout
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.hardware import peak_memory_bytes, reset_peak_memory
from apollo_ds.engine.malloc import return_freed_memory
from apollo_ds.engine.processes import Processes
from apollo_ds.growth.counters import Counters
from apollo_ds.growth.state import ShardedState, Slice
from apollo_ds.models.families import family_of, preset
from apollo_ds.models.flops import parameters
from apollo_ds.training.run import make_trainer
from data_prep import sources
from data_prep.build import build
from data_prep.options import Options

FACTOR = 1.3
"""The number of shares that a rank may hold at its peak, in addition to one block."""
_LAYERS = (4, 18)
_PHASES = ("start", "growth", "resume")
_WEIGHT, _MASTER_AND_MOMENTS = 2, 12
"""Bytes a parameter: bf16; fp32 weights and two moments."""
_COLUMNS = ("model", "ZeRO", "ranks", "when", "share, MB", "peak, MB", "allowed, MB", "in shares", "read / checkpoint",
            "seconds")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A model's width, its ZeRO stage and the number of ranks."""

    hidden_size: int
    zero_stage: int
    ranks: int


_WIDTHS = {"gpt-tiny": 256, "gpt-0.3b": 1024, "gpt-1b": 2048}
CASES = {
    f"{name}-zero{stage}-{ranks}": Case(width, stage, ranks)
    for name, width in _WIDTHS.items()
    for stage in ((3,) if name == "gpt-1b" else (1, 2, 3))
    for ranks in (2, 4)
}
MEASURED = [name for name in CASES if "tiny" not in name]


def recipe_of(case: Case, phase: str, folder: Path, ranks: int) -> Recipe:
    """A run of 18 layers from its start, or one that grows from 4."""
    shape = preset("gpt2-large").model_copy(
        update={
            "num_layers": _LAYERS[1],
            "hidden_size": case.hidden_size,
            "num_heads": case.hidden_size // 64,
            "intermediate_size": 4 * case.hidden_size,
            "vocab_size": 50_304,
            "max_position_embeddings": 128,
        }
    )
    values = {
        "model": shape.model_dump(),
        "method": "scratch" if phase == "start" else {"name": "apollo", "layers": list(_LAYERS), "grow_at": [0.5]},
        "data": str(folder / "text"),
        "out": str(folder / ("start" if phase == "start" else "run")),
        "steps": 8,
        "seq_len": 128,
        "global_batch_size": ranks,
        "micro_batch_size": 1,
        "learning_rate": 1e-4,
        "eval_every": 8,
        "save_every": 8,
        "deepspeed": {
            "bf16": {"enabled": True},
            "zero_optimization": {"stage": case.zero_stage},
            "gradient_clipping": 1.0,
            "steps_per_print": 1_000_000,
        },
    }
    return resolve(values, "benchmark")


def share_bytes(recipe: Recipe, stage: int, ranks: int) -> float:
    """What a rank keeps of a stage's training state."""
    found = recipe.schedule().stages[stage]
    count = parameters(found.shape, found.unique_layers)
    weights = _WEIGHT * count / (ranks if recipe.deepspeed["zero_optimization"]["stage"] == 3 else 1)
    return weights + _MASTER_AND_MOMENTS * count / ranks


def block_bytes(recipe: Recipe) -> int:
    """A block in fp32, or the token embedding if it is larger."""
    shape = recipe.model
    return 4 * max(12 * shape.hidden_size**2, shape.vocab_size * shape.hidden_size)


class Meter:
    """Peak memory, bytes read and seconds of what the ranks do."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        import apollo_ds.training.trainer  # noqa: F401 - what is imported is no part of a start

        family_of(preset("gpt2-base")).model_class()
        return_freed_memory()
        self._idle = psutil.Process().memory_info().rss
        self.begin()

    def begin(self) -> None:
        """Measure from here, when all ranks are here."""
        self._processes.barrier()
        reset_peak_memory(self._processes.device)
        self._read, self._began = _bytes_read(), time.perf_counter()

    def end(self) -> dict[str, float]:
        """The greatest peak of a rank, what all ranks have read, and the seconds."""
        peak = peak_memory_bytes(self._processes.device) - self._idle
        peaks, read = zip(*self._processes.of_all((peak, _bytes_read() - self._read)), strict=True)
        return {"peak": max(peaks), "read": sum(read), "seconds": time.perf_counter() - self._began}


def _bytes_read() -> int:
    counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counters["rchar"])


def measure(processes: Processes, recipe: Recipe, phase: str) -> dict[str, float]:
    """What a start or a resume needs, or a growth, after which the run is saved."""
    meter, ranks = Meter(processes), processes.world_size
    trainer = make_trainer(recipe, processes)
    share = share_bytes(recipe, trainer.stage, ranks)
    if phase == "growth":
        meter.begin()
        trainer.engine, _ = trainer.engines.grow(trainer.engine, trainer.schedule, 0, 1)
        share += share_bytes(recipe, 1, ranks)
    found = meter.end() | {"share": share, "allowed": FACTOR * share + block_bytes(recipe)}
    if phase == "growth":
        trainer.stage = 1
        # No step is taken, so that the state itself can be written, for whose copy there is no room.
        trainer.engine.capture = partial(_state_itself, trainer.engine)  # type: ignore[method-assign]
        trainer._save()
        trainer.writer.finish()
    trainer.close()
    return found


def _state_itself(engine: Engine) -> ShardedState:
    slices = {
        name: Slice(shape, part.start, {key: tensor.detach() for key, tensor in part.tensors.items()})
        for name, shape, part in engine._distinct_slices()
    }
    return ShardedState(slices, Counters(layout.adam_step(engine.deepspeed), engine.births))


def run(name: str) -> dict[str, dict[str, float]]:
    """Measure a case in fresh ranks."""
    case = CASES[name]
    with tempfile.TemporaryDirectory(prefix="apollo-ds-memory-") as folder:
        results: dict[str, dict[str, float]] = {}
        for phase in _PHASES:
            words = [name, "--folder", folder, "--phase", phase]
            launcher = [str(Path(sys.executable).parent / "torchrun"), "--nproc_per_node", str(case.ranks)]
            environment = {**os.environ, "DS_ACCELERATOR": "cpu", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": "1"}
            subprocess.run([*launcher, "--standalone", __file__, *words], check=True, env=environment)
            results[phase] = json.loads((Path(folder) / "result.json").read_text())
        saved = sum(path.stat().st_size for path in Path(folder).glob("run/checkpoints/step-*/rank-*"))
        results["resume"]["read_in_checkpoints"] = results["resume"]["read"] / saved
        return results


def _on_this_rank(name: str, folder: Path, phase: str) -> None:
    processes, case = Processes.join(), CASES[name]
    processes.on_first(lambda: prepare(folder / "text"))
    found = measure(processes, recipe_of(case, phase, folder, processes.world_size), phase)
    if processes.is_first:
        (folder / "result.json").write_text(json.dumps(found))
    processes.leave()


def prepare(folder: Path) -> None:
    """A little text, so that a run can be made."""
    if not folder.exists():
        source = folder.with_suffix(".jsonl")
        source.write_text("\n".join(json.dumps({"text": f"This is text {number}. " * 40}) for number in range(200)))
        options = Options(sources.parse([str(source)]), tokenizer="bpe", vocab_size=300, validation_fraction=0.1)
        build(options, folder, workers=1, console=Console(quiet=True))


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """The measurements as Markdown."""
    lines = [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
    for name, found in results.items():
        case = CASES[name]
        for when, r in found.items():
            cells = (
                name.partition("-zero")[0],
                str(case.zero_stage),
                str(case.ranks),
                when,
                *(f"{r[key] / 1e6:,.0f}" for key in ("share", "peak", "allowed")),
                f"{r['peak'] / r['share']:.2f}",
                f"{r['read_in_checkpoints']:.2f}" if "read_in_checkpoints" in r else "",
                f"{r['seconds']:.1f}",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure all or some cases and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=MEASURED)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--phase", choices=_PHASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        _on_this_rank(options.cases[0], options.folder, options.phase)
        return
    options.out.mkdir(exist_ok=True)
    path = options.out / "memory.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for name in options.cases:
        results[name] = run(name)
        path.write_text(json.dumps(results, indent=2))
        print(table({name: results[name]}), flush=True)
    (options.out / "memory.md").write_text(table({name: results[name] for name in CASES if name in results}))


if __name__ == "__main__":
    main()
