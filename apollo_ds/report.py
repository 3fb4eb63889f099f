"""What runs gave: tables and pictures, made from their metrics files alone."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apollo_ds.errors import UserError
from apollo_ds.metrics import read_metrics

Event = dict[str, Any]


@dataclass(frozen=True)
class RunHistory:
    """A run's recorded events by kind."""

    name: str
    config: dict[str, Any]
    steps: list[Event]
    evals: list[Event]
    growths: list[Event]
    start: Event
    """What the run recorded when it began; empty where it did not."""

    @classmethod
    def read(cls, folder: Path) -> "RunHistory":
        """Read a run folder.

        Raises:
            UserError: it is not one, or holds no held-out loss yet.
        """
        if not (folder / "metrics.jsonl").is_file():
            raise UserError(f"{folder}: not a run folder; it has no metrics.jsonl")
        events = read_metrics(folder / "metrics.jsonl")
        by_kind = {kind: [e for e in events if e["event"] == kind] for kind in ("step", "eval", "growth")}
        if not by_kind["eval"]:
            raise UserError(f"{folder}/metrics.jsonl: no held-out loss is recorded yet")
        config = yaml.safe_load((folder / "config.yaml").read_text())["recipe"]
        start = next((e for e in events if e["event"] == "start"), {})
        return cls(folder.name, config, by_kind["step"], by_kind["eval"], by_kind["growth"], start)

    @property
    def unigram_entropy(self) -> float | None:
        """The loss of the best guess without context, in nats, where the run recorded it."""
        return self.start.get("unigram_entropy")

    @property
    def final(self) -> Event:
        """The last evaluation."""
        return self.evals[-1]

    def cost_at(self, step: int, key: str) -> float:
        """What the run had used (`flops` or `seconds`) after so many steps."""
        return next((e[key] for e in reversed(self.steps) if e["step"] <= step), 0)

    def cost_to_reach(self, loss: float, key: str) -> float | None:
        """Cost (`flops` or `seconds`) at which the held-out loss first reaches `loss`; None if it never does.

        Between two evaluations the loss is taken to fall in a straight line.
        """
        before: Event | None = None
        for point in self.evals:
            if point["loss"] <= loss:
                if before is None or before["loss"] <= point["loss"]:
                    return point[key]
                part = (before["loss"] - loss) / (before["loss"] - point["loss"])
                return before[key] + part * (point[key] - before[key])
            before = point
        return None


def write_report(folders: list[Path], out: Path) -> Path:
    """Write report.md and its pictures for runs, the first of which is the baseline; returns the page's path.

    Raises:
        UserError: a folder is not a run's.
    """
    runs = [RunHistory.read(folder) for folder in folders]
    if len({run.name for run in runs}) < len(runs):
        runs = [replace(run, name=str(folder)) for run, folder in zip(runs, folders, strict=True)]
    out.mkdir(parents=True, exist_ok=True)
    plots = {
        "loss_against_flops.png": _curves(runs, "flops", "training cost (FLOPs)"),
        "loss_against_time.png": _curves(runs, "seconds", "time (seconds)"),
        "depth_and_loss.png": _training(runs[0]),
    }
    for name, figure in plots.items():
        figure.savefig(out / name, dpi=150)
        plt.close(figure)
    page = out / "report.md"
    page.write_text(_page(runs, list(plots)))
    return page


_COLOURS = ("#1f5fa8", "#d1495b", "#3a9d5d", "#e08e2b", "#7a5195", "#5c677d")


def _figure() -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def _curves(runs: list[RunHistory], key: str, label: str) -> Figure:
    """Held-out loss of every run; a growth is a mark on its curve."""
    figure, axes = _figure()
    for run, colour in zip(runs, _COLOURS * len(runs), strict=False):
        growths = [(run.cost_at(growth["step"], key), growth) for growth in run.growths]
        points = [(e[key], e["loss"]) for e in run.evals] + [(cost, growth["loss_before"]) for cost, growth in growths]
        points += [(cost, growth["loss_after"]) for cost, growth in growths]
        axes.plot(*zip(*sorted(points, key=lambda p: p[0]), strict=True), color=colour, linewidth=1.8, label=run.name)
        for cost, growth in growths:
            at = (cost, growth["loss_after"])
            axes.plot(*at, "o", color=colour, markersize=6, markeredgecolor="white")
            label_of_growth = f"{growth['from']}\u2192{growth['to']} layers"
            axes.annotate(label_of_growth, at, (6, 4), textcoords="offset points", fontsize=8, color=colour)
    entropy = runs[0].unigram_entropy
    if entropy is not None:
        axes.axhline(entropy, color="#888888", linewidth=0.9, linestyle=":", label="unigram entropy")
    axes.set(xlabel=label, ylabel="held-out loss (nats per token)")
    axes.set_xlim(left=0)
    axes.legend(frameon=False)
    return figure


def _training(run: RunHistory) -> Figure:
    """Training loss of each step, coloured by the depth it ran at: deeper passes of shared layers are harder."""
    figure, axes = _figure()
    finite = [e for e in run.steps if e["loss"] is not None]
    points = axes.scatter(
        [e["step"] for e in finite],
        [e["loss"] for e in finite],
        c=[e["depth"] for e in finite],
        cmap="viridis",
        s=5,
        linewidths=0,
    )
    for growth in run.growths:
        axes.axvline(growth["step"], color="#888888", linewidth=0.8, linestyle="--")
    figure.colorbar(points, label="layers run", pad=0.01)
    axes.set(xlabel="step", ylabel="training loss (nats per token)", title=run.name)
    return figure


def _page(runs: list[RunHistory], plots: list[str]) -> str:
    lines = ["# " + " and ".join(run.name for run in runs), ""]
    lines += _summary(runs)
    for run in runs:
        lines += _stages(run)
    for plot in plots:
        lines += [f"![{plot.removesuffix('.png').replace('_', ' ')}]({plot})", ""]
    return "\n".join(lines)


def _summary(runs: list[RunHistory]) -> list[str]:
    baseline = runs[0]
    target = baseline.final["loss"]
    lines = ["| run | method | seed | steps | final held-out loss | FLOPs | seconds |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for run in runs:
        final = run.final
        lines.append(
            f"| {run.name} | {run.config['method']['name']} | {run.config['seed']} | {final['step']:,} | "
            f"{final['loss']:.4f} | {final['flops']:.4g} | {final['seconds']:.0f} |"
        )
    lines.append("")
    for run in runs:
        if "source" in run.start:
            spent = f"{run.start['source_flops']:.4g} FLOPs and {run.start['source_seconds']:.0f} seconds"
            lines += [f"{run.name} starts from {run.start['source']}, on which {spent} had been spent before.", ""]
    if len(runs) == 1:
        return lines
    lines += [
        f"To the final held-out loss of {baseline.name}, {target:.4f} (saving S = 1 - C/C0, speed-up U = C0/C - 1):"
    ]
    lines += [
        "",
        "| run | FLOPs to reach it | saving S | speed-up U | seconds to reach it |",
        "|---|---|---|---|---|",
    ]
    for run in runs[1:]:
        flops, seconds = run.cost_to_reach(target, "flops"), run.cost_to_reach(target, "seconds")
        if flops is None or seconds is None:
            lines.append(f"| {run.name} | not reached (best {min(e['loss'] for e in run.evals):.4f}) | | | |")
            continue
        lines.append(_saving(run.name, flops, seconds, baseline))
        if "source" in run.start:
            counted = (flops + run.start["source_flops"], seconds + run.start["source_seconds"])
            lines.append(_saving(f"{run.name}, counting its source", *counted, baseline))
    return [*lines, ""]


def _saving(name: str, flops: float, seconds: float, baseline: RunHistory) -> str:
    ratio = flops / baseline.final["flops"]
    return f"| {name} | {flops:.4g} | {1 - ratio:.1%} | {1 / ratio - 1:.1%} | {seconds:.0f} |"


def _stages(run: RunHistory) -> list[str]:
    """Where the cost went, and what each growth did."""
    lines = [f"## {run.name}, stage by stage", ""]
    lines += [
        "| stage | layers | steps | mean depth | FLOPs | seconds | grown at loss | became |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for stage in sorted({e["stage"] for e in run.steps}):
        steps = [e for e in run.steps if e["stage"] == stage]
        before = [e for e in run.steps if e["stage"] < stage]
        flops = steps[-1]["flops"] - (before[-1]["flops"] if before else 0)
        seconds = steps[-1]["seconds"] - (before[-1]["seconds"] if before else 0)
        layers = steps[0]["unique_layers"]
        growth = next((g for g in run.growths if g["to"] == layers), None)
        change = f"{growth['loss_before']:.4f} | {growth['loss_after']:.4f}" if growth else " | "
        depth = sum(e["depth"] for e in steps) / len(steps)
        lines.append(
            f"| {stage + 1} | {layers} | {len(steps):,} | {depth:.2f} | {flops:.3g} | {seconds:.0f} | {change} |"
        )
    return [*lines, ""]
