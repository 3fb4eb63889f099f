"""Measures whether the best learning rate is the same at 2 and at 12 layers, with and without a residual scale.

    python benchmarks/depth_transfer.py TEXT               train what results/depth_transfer.json lacks; page and figure
    python benchmarks/depth_transfer.py TEXT --pages       page and figure only

GPT-2s of 64 units, one rank, fp32, AdamW under a cosine, from scratch, judged by the held-out loss after the last step.
The first seed tries all rates, the second the best and two to either side. The best rate of a depth is the lowest point
of a parabola in log2 of the rate, fitted by least squares to the mean losses of these five; where they do not enclose
it, the best rate tried. CompleteP has alpha 1 and two base layers, so that no learning rate depends on the depth.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from math import log2
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from apollo_ds.config.load import resolve
from apollo_ds.config.recipe import Recipe
from apollo_ds.data.batches import BatchSource
from apollo_ds.data.corpus import Corpus
from apollo_ds.data.text import Text
from apollo_ds.engine.processes import Processes
from apollo_ds.experiments.line_labels import Label, label_ends
from apollo_ds.training.growing import StageEngines
from apollo_ds.training.rank_batches import RankBatches
from data_prep.figure_style import SMALL, empty_figure, line_style, save_picture, set_title, style_axes

RESULTS = Path(__file__).parent / "results"
SCALES = ("none", "depth_sqrt", "complete_p")
DEPTHS = (2, 12)
RATES = tuple(2.0 ** (half / 2) for half in range(-20, -11))
"""2^-10 to 2^-6, sqrt(2) apart."""
SEEDS = (1, 2)
STEPS = 400
_SAMPLES, _TOKENS = 4, 64
_NEIGHBOURS = 2
WITHIN = 1.5
"""Two best rates count as the same if neither is more than this many times the other."""


def recipe_of(text: Path, scale: str, depth: int, rate: float, seed: int, out: str, method: Any = "scratch") -> Recipe:
    """One run."""
    values = {
        "model": {
            "family": "gpt2",
            "num_layers": depth,
            "hidden_size": 64,
            "num_heads": 2,
            "intermediate_size": 256,
            "vocab_size": Corpus.open(text).vocab_size,
            "max_position_embeddings": _TOKENS,
            "initializer_range": 0.09,
            "residual_scale": scale,
        },
        "method": method,
        "lr_schedule": "cosine",
        "data": str(text),
        "out": out,
        "steps": STEPS,
        "seq_len": _TOKENS,
        "global_batch_size": _SAMPLES,
        "micro_batch_size": _SAMPLES,
        "learning_rate": rate,
        "warmup_fraction": 0.1,
        "eval_every": STEPS,
        "eval_samples": 256,
        "save_every": STEPS,
        "seed": seed,
        "deepspeed": {"gradient_clipping": 1.0, "zero_optimization": {"stage": 0}, "steps_per_print": 1_000_000},
    }
    return resolve(values, "depth_transfer")


def measure(recipe: Recipe, processes: Processes, text: Corpus) -> float:
    """Train a recipe, without checkpoints or records, and return its held-out loss in nats."""
    batches = RankBatches(recipe, processes, BatchSource(Text.of(text), recipe.model, recipe.seq_len, recipe.seed))
    schedule, engines, stage = recipe.schedule(), StageEngines(recipe, processes), 0
    engine = engines.build(schedule, stage, initialised=True)
    for step in range(recipe.steps):
        if schedule.stage_number(step) != stage:
            engine, _ = engines.grow(engine, schedule, stage, stage + 1)
            stage += 1
        read = batches.of_step(schedule, step, 0)
        engine.train_step(read, [schedule.at(step, micro_step) for micro_step in range(len(read))])
    depth = schedule.stages[stage].evaluation_depth
    risen = schedule.risen(stage, recipe.steps, depth)
    loss = engine.evaluate(batches.held_out(), schedule.stages[stage].map_to(depth), risen)
    engine.close()
    return loss


def wanted_runs(runs: list[dict[str, Any]]) -> Iterator[tuple[str, int, float, int]]:
    """Scale, depth, rate and seed of all runs: with the first seed every rate, with others those near the best.

    The best is that of the mean losses of the runs so far.
    """
    for seed in SEEDS:
        for scale in SCALES:
            for depth in DEPTHS:
                rates = RATES if seed == SEEDS[0] else near_best(mean_losses(runs, scale, depth))
                yield from ((scale, depth, rate, seed) for rate in rates)


def near_best(losses: Mapping[float, float]) -> list[float]:
    """The best of the rates, by their losses, and two to either side of it."""
    best = min(losses, key=losses.__getitem__)
    return [rate for rate in sorted(losses) if abs(log2(rate / best)) <= _NEIGHBOURS / 2 + 1e-9]


def train_missing(text: Path, path: Path) -> None:
    """Train each run that the record lacks, and write the record after each.

    Raises:
        UserError: the folder holds no prepared text.
    """
    runs: list[dict[str, Any]] = json.loads(path.read_text())["runs"] if path.is_file() else []
    done = {(run["scale"], run["depth"], run["rate"], run["seed"]) for run in runs}
    processes, corpus = Processes.join(), Corpus.open(text)
    with TemporaryDirectory() as out:
        while wanted := next((run for run in wanted_runs(runs) if run not in done), None):
            scale, depth, rate, seed = wanted
            done.add(wanted)
            started = time.perf_counter()
            loss = measure(recipe_of(text, scale, depth, rate, seed, out), processes, corpus)
            seconds = round(time.perf_counter() - started, 1)
            runs.append({"scale": scale, "depth": depth, "rate": rate, "seed": seed, "loss": loss, "seconds": seconds})
            path.write_text(json.dumps({"steps": STEPS, "runs": runs}, indent=1) + "\n")
            print(f"{scale} {depth} layers, rate {rate:.4g}, seed {seed}: {loss:.4f} in {seconds} s", flush=True)
    processes.leave()


def best_rate(losses: Mapping[float, float]) -> tuple[float, bool]:
    """The rate of the lowest point of a parabola through losses near the best, and whether it lies between them.

    Where it does not, it is the best rate of the losses.
    """
    near = near_best(losses)
    curve = np.polynomial.Polynomial.fit([log2(rate) for rate in near], [losses[rate] for rate in near], 2).convert()
    lowest = 2 ** float(-curve.coef[1] / (2 * curve.coef[2]))
    if curve.coef[2] > 0 and near[0] < lowest < near[-1]:
        return lowest, True
    return min(losses, key=losses.__getitem__), False


def mean_losses(runs: list[dict[str, Any]], scale: str, depth: int) -> dict[float, float]:
    """The loss of each rate, in the mean over its seeds."""
    found: dict[float, list[float]] = {}
    for run in runs:
        if (run["scale"], run["depth"]) == (scale, depth):
            found.setdefault(run["rate"], []).append(run["loss"])
    return {rate: fmean(losses) for rate, losses in sorted(found.items())}


def page(runs: list[dict[str, Any]]) -> str:
    """The results as Markdown: a line for each scale."""
    lines = [
        "# Does the best learning rate stay where it is as layers are added?",
        "",
        f"`python benchmarks/depth_transfer.py TEXT`: GPT-2s of 64 units with fresh weights of 0.09, {STEPS} steps of "
        f"{_SAMPLES} x {_TOKENS} tokens, on English Wikipedia (BPE of 4,096 tokens). Rates of 2^-10 to 2^-6, sqrt(2) "
        f"apart; {len(SEEDS)} seeds near the best, one elsewhere. Best rates are the lowest points of fitted "
        "parabolas; with a star, the best of the rates tried.",
        "",
        "| residual_scale | best rate, 2 layers | best rate, 12 layers | ratio | within 1.5 | loss, 2 layers "
        "| loss, 12 layers | 12 layers at the best rate of 2 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for scale in SCALES:
        losses = {depth: mean_losses(runs, scale, depth) for depth in DEPTHS}
        (shallow, fits), (deep, fits_deep) = (best_rate(losses[depth]) for depth in DEPTHS)
        ratio = deep / shallow
        nearest = min(losses[12], key=lambda rate: abs(log2(rate / shallow)))
        lines.append(
            f"| {scale} | {shallow:.4f}{'' if fits else '*'} | {deep:.4f}{'' if fits_deep else '*'} | {ratio:.2f} "
            f"| {'yes' if 1 / WITHIN <= ratio <= WITHIN else 'no'} | {min(losses[2].values()):.3f} "
            f"| {min(losses[12].values()):.3f} | {losses[12][nearest]:.3f} |"
        )
    spread = [abs(a["loss"] - b["loss"]) for a in runs for b in runs if _is_pair(a, b)]
    lines += ["", "![Held-out loss against the learning rate](depth_transfer.png)", ""]
    if spread:
        lines += [f"Two seeds of one rate differ by {fmean(spread):.3f} in the mean, and by {max(spread):.3f} at most."]
    return "\n".join(lines).rstrip() + "\n"


def _is_pair(one: dict[str, Any], other: dict[str, Any]) -> bool:
    same = all(one[key] == other[key] for key in ("scale", "depth", "rate"))
    return same and one["seed"] < other["seed"]


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Loss against the rate: a panel a scale, a line a depth, and each best rate as a vertical line."""
    figure = empty_figure(9.0, 3.2)
    panels = figure.subplots(1, len(SCALES), sharey=True)
    for axes, scale in zip(panels, SCALES, strict=True):
        style_axes(axes)
        names = []
        for number, depth in enumerate(DEPTHS):
            losses, look = mean_losses(runs, scale, depth), line_style(number)
            axes.plot(list(losses), list(losses.values()), **look)
            axes.axvline(best_rate(losses)[0], color=look["color"], linestyle=look["linestyle"], linewidth=0.8)
            last = max(losses)
            names.append(Label(last, losses[last], f"{depth} layers", look["color"]))
        axes.set_xscale("log", base=2)
        axes.set_title(f"residual_scale: {scale}", fontsize=SMALL)
        axes.set_xlabel("peak learning rate")
    panels[0].set_ylabel("held-out loss (nats per token)")
    set_title(figure, "", ["vertical lines: the best rate of each depth"])
    label_ends(figure, {axes: names})
    save_picture(figure, path)


def main() -> None:
    """Train, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="folder of prepared text")
    parser.add_argument("--pages", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    record = RESULTS / "depth_transfer.json"
    if not arguments.pages:
        train_missing(arguments.text, record)
    runs = json.loads(record.read_text())["runs"]
    (RESULTS / "depth_transfer.md").write_text(page(runs))
    draw(runs, RESULTS / "depth_transfer.png")


if __name__ == "__main__":
    main()
