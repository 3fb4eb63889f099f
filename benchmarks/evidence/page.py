"""A question's page, made from the runs that are kept beside it."""

from pathlib import Path
from statistics import fmean

from apollo_ds.comparison import Comparison, tables
from apollo_ds.comparison.figures import draw
from apollo_ds.comparison.groups import Group
from apollo_ds.comparison.text import NOTHING, Table
from apollo_ds.drawing import save
from apollo_ds.history import RunHistory

_AFTER_GROWTH = 10
_FIGURES = ("loss_against_flops.png",)


def write(folder: Path) -> None:
    """Write README.md: the question, what was run, tables and a picture for each grid, and the conclusion."""
    lines = [(folder / "question.md").read_text().rstrip(), "", (folder / "conclusion.md").read_text().rstrip(), ""]
    for grid in sorted(folder.glob("*.yaml")):
        runs = sorted(path.parent for path in grid.with_suffix("").glob("*/metrics.jsonl"))
        if runs:
            lines += _grid(grid, runs)
    (folder / "README.md").write_text("\n".join(lines))


def _grid(grid: Path, runs: list[Path]) -> list[str]:
    comparison = Comparison.of(runs, _baseline(runs))
    name = f"{grid.parent.name}/{grid.stem}"
    figures = draw(comparison.groups, comparison.baseline, comparison.target)
    for figure in _FIGURES:
        save(figures[figure], grid.with_name(f"{grid.stem}-{figure}"))
    target = comparison.target
    lines = [f"## {grid.stem}", "", _scale(comparison.baseline.runs[0], len(runs)), ""]
    lines += ["```console", f"$ python benchmarks/evidence/evidence.py {name}", "```", ""]
    lines += _table(comparison.groups).markdown()
    if target:
        lines += [f"To scratch's final loss, {target.loss:.4f}:", ""]
        lines += tables.reach_table(comparison.groups, comparison.baseline, target).markdown()
        lines += ["At equal FLOPs, parts of what scratch took:", ""]
        lines += tables.budget_table(comparison.groups, target).markdown()
    lines += [f"![Held-out loss against training cost]({grid.stem}-{_FIGURES[0]})", ""]
    return [
        *lines,
        f"Raw results: [{grid.stem}/]({grid.stem}), one folder a run; the sweep: [{grid.name}]({grid.name}).",
        "",
    ]


def _baseline(runs: list[Path]) -> str:
    """Scratch at its best learning rate."""
    scratch = [RunHistory.read(run) for run in runs if run.name.startswith("scratch")]
    by_rate: dict[float, list[float]] = {}
    for run in scratch:
        by_rate.setdefault(run.recipe["learning_rate"], []).append(run.final.loss)
    best = min(by_rate, key=lambda rate: fmean(by_rate[rate]))
    return str(next(run.folder for run in scratch if run.recipe["learning_rate"] == best))


def _scale(run: RunHistory, runs: int) -> str:
    recipe, shape = run.recipe, run.recipe["model"]
    return (
        f"{shape['family']}, {shape['num_layers']} layers x {shape['hidden_size']}, vocabulary {shape['vocab_size']}; "
        f"{recipe['steps']:,} steps of {recipe['global_batch_size']} x {recipe['seq_len']} tokens; {runs} runs in "
        f"{run.start.get('precision', 'fp32')} on a CPU core each."
    )


def _table(groups: list[Group]) -> Table:
    """Final losses, costs, and what happened at the growths; ± over seeds."""
    headings = ("recipe", "seeds", "FLOPs", "final held-out loss", "loss change at growths", "gradient after growths")
    full = max(fmean(run.final.cost.flops for run in group.shown) for group in groups)
    rows = []
    for group in sorted(groups, key=lambda g: fmean(run.final.loss for run in g.shown)):
        flops = fmean(run.final.cost.flops for run in group.shown)
        rows.append(
            [
                group.name,
                str(len(group.shown)),
                f"{flops / full:.1%}",
                tables.loss_spread([run.final.loss for run in group.shown]),
                _per_growth([[e["loss_after"] - e["loss_before"] for e in run.growths] for run in group.shown], "+.3f"),
                _per_growth([_gradients(run) for run in group.shown], ".2f"),
            ]
        )
    return Table(headings, rows)


def _gradients(run: RunHistory) -> list[float]:
    """Mean gradient norm of the ten steps after each growth."""
    return [
        fmean(e["grad_norm"] for e in run.steps if growth["step"] < e["step"] <= growth["step"] + _AFTER_GROWTH)
        for growth in run.growths
    ]


def _per_growth(values: list[list[float]], form: str) -> str:
    """Means over seeds, one for each growth."""
    return ", ".join(f"{fmean(of_one):{form}}" for of_one in zip(*values, strict=True)) or NOTHING
