"""Progressive residual warm-up beside what it is laid over: the same runs with and without it, three seeds each.

    python benchmarks/rising.py TEXT        train what results/rising.json lacks, and write the page

GPT-2s of 12 layers x 64, as in `depth_transfer.py`, at the best rate of scratch there. `sprout` grows from
2 layers at half of the steps here; with `copies` what it adds are copies instead of silent layers. All under a cosine.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

from depth_transfer import RESULTS, STEPS, measure, recipe_of

from apollo_ds.data.corpus import Corpus
from apollo_ds.engine.processes import Processes

RISING = {"name": "progressive_residual", "fraction": 0.1}
METHODS: dict[str, Any] = {
    "scratch": "scratch",
    "scratch, rising": RISING,
    "sprout": {"name": "sprout", "jump_at": 0.5},
    "sprout, rising": [{"name": "sprout", "jump_at": 0.5}, RISING],
    "sprout, copies": [{"name": "sprout", "jump_at": 0.5, "new_layers": "copy"}],
    "sprout, copies, rising": [{"name": "sprout", "jump_at": 0.5, "new_layers": "copy"}, RISING],
}
RATES = (2.0**-8,)
"""The best of those tried for scratch in `depth_transfer.py`, and not tuned for the others."""
SEEDS = (1, 2, 3)


def train_missing(text: Path, path: Path) -> list[dict[str, Any]]:
    """Train each run that the record lacks, seed by seed, and write the record after each; returns all.

    Raises:
        UserError: the folder holds no prepared text.
    """
    runs: list[dict[str, Any]] = json.loads(path.read_text())["runs"] if path.is_file() else []
    done = {(run["method"], run["rate"], run["seed"]) for run in runs}
    processes, corpus = Processes.join(), Corpus.open(text)
    with TemporaryDirectory() as out:
        for name, rate, seed in ((m, r, s) for s in SEEDS for r in RATES for m in METHODS):
            if (name, rate, seed) not in done:
                recipe = recipe_of(text, "none", 12, rate, seed, out, METHODS[name])
                loss = measure(recipe, processes, corpus)
                runs.append({"method": name, "rate": rate, "seed": seed, "loss": loss})
                path.write_text(json.dumps({"steps": STEPS, "runs": runs}, indent=1) + "\n")
                print(f"{name}, rate {rate:.4g}, seed {seed}: {loss:.4f}", flush=True)
    processes.leave()
    return runs


def page(runs: list[dict[str, Any]]) -> str:
    """The results as Markdown: held-out losses in nats, mean and deviation over the seeds."""
    lines = [
        "# Progressive residual warm-up beside the same runs without it",
        "",
        f"`python benchmarks/rising.py TEXT`: GPT-2s of 12 layers x 64, {STEPS} steps of 4 x 64 tokens of English "
        "Wikipedia, a cosine, fresh weights of 0.09. `sprout` grows from 2 layers at half of the steps here. Held-out "
        "losses in nats: the mean over seeds, their deviation, and how many seeds there are.",
        "",
        f"| method | {' | '.join(f'peak rate {rate:.4f}' for rate in RATES)} |",
        "|---" * (1 + len(RATES)) + "|",
    ]
    for name in METHODS:
        cells = []
        for rate in RATES:
            losses = [run["loss"] for run in runs if (run["method"], run["rate"]) == (name, rate)]
            spread = f" ± {stdev(losses):.3f}" if len(losses) > 1 else ""
            cells.append(f"{fmean(losses):.3f}{spread} ({len(losses)})" if losses else "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="folder of prepared text")
    runs = train_missing(parser.parse_args().text, RESULTS / "rising.json")
    (RESULTS / "rising.md").write_text(page(runs))


if __name__ == "__main__":
    main()
