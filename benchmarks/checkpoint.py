"""What a checkpoint costs training: stall, time until it is safe, and size, against DeepSpeed's own `save_checkpoint`.

    python benchmarks/checkpoint.py                two CPU ranks; writes results/checkpoint.md

The two alternate in one process a rank, on the same engine, after a training step each. The stall is how long the
slower rank could not train; a checkpoint of ours goes on to be written while it trains, and is waited for before the
next.
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
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
MODELS = ("bert-small", "bert-base")
REPEATS = 5


def measure(preset_name: str, result: Path) -> None:
    """All repeats on this rank; the first rank writes the medians."""
    import torch

    from apollo_ds.checkpoint.position import Course, Memory, Position
    from apollo_ds.checkpoint.writer import CheckpointWriter
    from apollo_ds.config.load import resolve
    from apollo_ds.engine.engine import Engine
    from apollo_ds.engine.processes import Processes
    from apollo_ds.engine.side_channel import SideChannel
    from apollo_ds.models.families import preset
    from apollo_ds.models.pretraining import build
    from apollo_ds.schedule.totals import Totals

    processes = Processes.join()
    shape = preset(preset_name)
    recipe = resolve(
        {
            "model": shape.model_dump(),
            "method": "scratch",
            "data": "none",
            "out": "none",
            "steps": 100,
            "global_batch_size": 4 * processes.world_size,
            "micro_batch_size": 4,
            "learning_rate": 1e-4,
            "eval_every": 1,
            "save_every": 1,
            "deepspeed": {
                "bf16": {"enabled": processes.computes_bf16},
                "gradient_clipping": 1.0,
                "zero_optimization": {"stage": 1, "reduce_bucket_size": 50_000_000},
                "zero_allow_untested_optimizer": True,
                "steps_per_print": 1_000_000,
            },
        },
        "benchmark",
    )
    engine = Engine(build(shape, shape.num_layers, 0), recipe, processes)
    ids = torch.randint(shape.vocab_size, (4, 128))
    batch = (ids, torch.arange(19).expand(4, 19), ids[:, :19])
    folder = result.parent / "checkpoints"
    writer = CheckpointWriter(folder / "ours", processes, keep=1, keep_every=0)
    channel = SideChannel(processes)
    schedule = recipe.schedule()
    times: dict[str, list[float]] = {}

    def timed(name: str, action: object) -> None:
        channel.exchange(None)
        began = time.perf_counter()
        action()
        times.setdefault(name, []).append(max(channel.exchange(time.perf_counter() - began)))

    for step in range(REPEATS + 1):

        def train(step: int = step) -> None:
            engine.train_step([batch], [schedule.at(step)])

        def begin(step: int = step) -> None:
            writer.begin(engine.capture(), Position(Totals(step=step), Course(0, [100]), 0, Memory()))

        def deepspeed_save(step: int = step) -> None:
            engine.deepspeed.save_checkpoint(str(folder / "deepspeed"), tag=f"step-{step}")

        timed("step", train)
        began = time.perf_counter()
        timed("ours: stall", begin)
        timed("step while it is written", train)
        writer.finish()
        times.setdefault("ours: safe after", []).append(max(channel.exchange(time.perf_counter() - began)))
        timed("deepspeed: stall", deepspeed_save)
        if processes.is_first:
            for old in (folder / "deepspeed").glob(f"step-{step - 1}"):
                shutil.rmtree(old)
    writer.close()
    if processes.is_first:
        medians = {name: statistics.median(values[1:]) for name, values in times.items()}
        sizes = {name: _bytes(next((folder / name).glob(f"step-{REPEATS}"))) for name in ("ours", "deepspeed")}
        parameters = sum(parameter.numel() for parameter in engine.model.parameters())
        precision = "bf16" if processes.computes_bf16 else "fp32"
        result.write_text(
            json.dumps({"seconds": medians, "bytes": sizes, "parameters": parameters, "precision": precision})
        )
    processes.leave()


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _run(model: str) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        environment = {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
        command = [
            Path(sys.executable).parent / "deepspeed",
            "--num_accelerators",
            "2",
            "--master_port",
            "29713",
            __file__,
            "--model",
            model,
        ]
        subprocess.run([*command, "--result", result], env=environment, check=True, stdout=sys.stderr)
        return json.loads(result.read_text())


def main() -> None:
    """As launcher: run all models and write the table. As rank (`--result`): measure one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS)
    parser.add_argument("--result", type=Path)
    parser.add_argument("--local_rank")
    options = parser.parse_args()
    if options.result:
        measure(options.model, options.result)
        return
    lines = [
        "# Checkpoints",
        "",
        f"`python benchmarks/checkpoint.py`: two CPU ranks, ZeRO 1, medians of {REPEATS} (the first left out).",
        "",
        "| model | parameters | precision | step | step while writing | stall, ours | stall, DeepSpeed | ratio "
        "| safe after, ours | size, ours | size, DeepSpeed |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model in [options.model] if options.model else MODELS:
        measured = _run(model)
        seconds, sizes = measured["seconds"], measured["bytes"]
        ours, theirs = seconds["ours: stall"], seconds["deepspeed: stall"]
        lines.append(
            f"| {model} | {measured['parameters'] / 1e6:.0f} M | {measured['precision']} | {seconds['step']:.2f} s | "
            f"{seconds['step while it is written']:.2f} s | {ours:.3f} s | {theirs:.3f} s | {ours / theirs:.2f} | "
            f"{seconds['ours: safe after']:.2f} s | {sizes['ours'] / 1e6:.0f} MB | {sizes['deepspeed'] / 1e6:.0f} MB |"
        )
        print(lines[-1])
    (RESULTS / "checkpoint.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
