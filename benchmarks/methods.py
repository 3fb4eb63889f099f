"""Every method on one small GPT-2, with the same text, batches and peak learning rate: cost and held-out loss.

    python benchmarks/methods.py               all methods and one combination, three seeds; results/methods.*
    python benchmarks/methods.py apollo pld    some of them
    python benchmarks/methods.py --seeds 1     one seed

The runs follow one another in one process, seed by seed; those that results/methods.json has are not repeated. They
are far too short for the learning rates and long stages that the papers use: this shows what each method costs, and
that it trains, not which is best.
"""

import argparse
import json
import logging
import os
import tempfile
from pathlib import Path
from statistics import fmean, stdev

os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

from apollo_ds.config.load import load_recipe
from apollo_ds.config.packaged import DEFAULT_RECIPE
from apollo_ds.data.demo import prepare_default_text
from apollo_ds.engine.processes import Processes
from apollo_ds.methods import METHODS
from apollo_ds.planning.plan import plan
from apollo_ds.training.run import train

RESULTS = Path(__file__).parent / "results"
COMBINATION = "[deep_jump, decreasing_drop, short_to_long]"
NOT_RUN = ("scratch", "upscale")
"""Scratch is first in any case; `upscale` needs a model that has been trained."""
SIZES = [
    "model.hidden_size=64",
    "model.intermediate_size=256",
    "steps=400",
    "learning_rate=2e-3",
    "seq_len=64",
    "global_batch_size=16",
    "eval_every=40",
    "eval_samples=128",
    "save_every=400",
    "log_every=100",
    "deepspeed=ds_configs/zero1_fp32.json",
]


def main() -> None:
    """Run what is asked for and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "methods", nargs="*", default=["scratch", *(name for name in METHODS if name not in NOT_RUN), COMBINATION]
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # DeepSpeed's, at every engine that is made
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "methods.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    recipe = load_recipe(DEFAULT_RECIPE)
    prepare_default_text(recipe.data, recipe.model)
    processes = Processes.join()
    for seed in range(1, options.seeds + 1):
        for method in options.methods:
            done = results.setdefault(method, [])
            if len(done) < seed:
                done.append(measure(method, seed, processes))
                path.write_text(json.dumps(results, indent=1))
                print(table({method: done}, results["scratch"]).splitlines()[-1], flush=True)
    (options.out / "methods.md").write_text(table(results, results["scratch"]))


def measure(method: str, seed: int, processes: Processes) -> dict[str, float]:
    """Train once. Returns its cost and its last held-out loss."""
    with tempfile.TemporaryDirectory(prefix="apollo-ds-methods-") as folder:
        recipe = load_recipe(DEFAULT_RECIPE, [*SIZES, f"method={method}", f"seed={seed}", f"out={folder}"])
        outcome = train(recipe, processes)
    return {
        "loss": outcome.loss,
        "flops": outcome.totals.flops,
        "planned_flops": plan(recipe)["total"]["flops"],
    }


def table(results: dict[str, list[dict[str, float]]], scratch: list[dict[str, float]]) -> str:
    """Markdown; cost as a part of scratch's."""
    lines = [
        "| method | planned cost | cost | held-out loss | spread | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for method, runs in results.items():
        losses = [run["loss"] for run in runs]
        full = fmean(run["flops"] for run in scratch)
        parts = [fmean(run[key] for run in runs) / full for key in ("planned_flops", "flops")]
        spread = f"{stdev(losses):.3f}" if len(losses) > 1 else "-"
        cells = (method, *(f"{part:.1%}" for part in parts), f"{fmean(losses):.3f}", spread, str(len(runs)))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
