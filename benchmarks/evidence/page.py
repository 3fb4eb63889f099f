"""A question's page, made from the runs that are kept beside it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from statistics import fmean, mode, stdev
from typing import Any

import xxhash
import yaml
from matplotlib.figure import Figure

from apollo_ds.errors import UserError
from apollo_ds.experiments.compare import tables
from apollo_ds.experiments.compare.comparison import Comparison
from apollo_ds.experiments.compare.figures import draw
from apollo_ds.experiments.compare.groups import Group, check_comparable, group_runs
from apollo_ds.experiments.compare.measures import Spread, Target
from apollo_ds.experiments.compare.text import NOTHING, Table
from apollo_ds.experiments.compare.tuning import at_the_edge, best_rates, end, rate
from apollo_ds.experiments.history import RunHistory
from apollo_ds.experiments.style import GREY, line_style, new_figure

PAPERS_RATE = 1e-4
"""The learning rate of Apollo's paper and scripts, for every method."""
QUESTIONS = ("order", "factors", "methods", "recipe")
"""The folders of those that sweeps answer, in their order."""
DOWNSTREAM = "downstream"
"""The folder of the one that fine-tuning answers."""
AFTER_GROWTH = 10
"""Steps over whose gradients a growth's mean is taken."""
_INDEX = """Each page has a question's tables, pictures, commands and raw results. `make evidence` runs the first two
questions' smallest size anew; `python benchmarks/evidence/evidence.py` runs what has no results yet of the first four,
and `python benchmarks/evidence/downstream.py --glue FOLDER` of the last. The models and runs are small, because two CPU
cores made them: what they show need not hold for larger ones."""
_OF_RATES = (
    "One seed looked for the rate; where there are three, the other two followed at that rate. The first seed is one "
    "of the three, so a rate that it favoured by chance makes a recipe's mean look a little better than it is."
)
_LATE = 0.25
"""Where the curve of scratch begins in the figure of where recipes ended, as a part of its cost."""
_CURVES = 8
"""Of more recipes than these, the figure of losses against cost has the best."""
_CAPTIONS = {"curves": "Held-out loss against training cost", "ends": "Where each recipe ended: cost and held-out loss"}


def needs_gpu(grid: str) -> bool:
    """Whether a grid of this name is one for a GPU."""
    return grid.split("+")[0].endswith("-gpu")


def write(folder: Path) -> None:
    """Write README.md: the question, the conclusion, and what was run, with tables and pictures for each scale."""
    lines = [(folder / "question.md").read_text().rstrip(), "", *conclusion(folder), ""]
    by_scale: dict[str, list[Path]] = {}
    for grid in sorted(folder.glob("*.yaml")):
        if any(grid.with_suffix("").glob("*/metrics.jsonl")):
            by_scale.setdefault(grid.stem.split("+")[0], []).append(grid)
    for scale, grids in by_scale.items():
        lines += _scale(folder, scale, grids)
    (folder / "README.md").write_text("\n".join(lines).rstrip() + "\n")


def write_index(folder: Path) -> None:
    """Write README.md above the questions: what each of them came to."""
    lines = ["# What growing really saves", "", _INDEX, ""]
    for name in (*QUESTIONS, DOWNSTREAM):
        title = (folder / name / "question.md").read_text().split("\n")[0].removeprefix("# ")
        lines += [f"## [{title}]({name}/README.md)", "", conclusion(folder / name)[0], ""]
    (folder / "README.md").write_text("\n".join(lines).rstrip() + "\n")


def conclusion(folder: Path) -> list[str]:
    """What a question came to: three sentences, and below an empty line what else its runs show.

    Where the last line of conclusion.md names other results than are there, it is said after the three.
    """
    path = folder / "conclusion.md"
    if not path.is_file():
        return ["Not answered yet."]
    text, _, written_for = path.read_text().rstrip().partition("\n\nOf results ")
    short, _, rest = text.partition("\n\n")
    if written_for != (now := results_hash(folder)):
        short += f"\n\n*This was written for other results than these, {now}.*"
    return [short, "", rest] if rest else [short]


def results_hash(folder: Path) -> str:
    """Of all results that are kept of a question."""
    digest = xxhash.xxh3_64()
    for path in sorted((*folder.rglob("metrics.jsonl"), *folder.rglob("results.json"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def by_recipe(runs: Sequence[RunHistory]) -> list[Group]:
    """The runs without regard to seeds; a group is called what its runs' folders are, without rate and seed."""
    return [replace(group, name=group.runs[0].folder.name.split(",learning_rate=")[0]) for group in group_runs(runs)]


def _scale(folder: Path, scale: str, grids: Sequence[Path]) -> list[str]:
    grids = sorted(grids, key=lambda grid: (grid.stem != scale, grid.stem))
    paths = [path.parent for grid in grids for path in sorted(grid.with_suffix("").glob("*/metrics.jsonl"))]
    runs, left_out = _of_one_text([RunHistory.read(path) for path in paths])
    groups = by_recipe(runs)
    names = " ".join(f"{folder.name}/{grid.stem}" for grid in grids)
    lines = [f"## {scale}", "", _in_words(runs, "GPU" if needs_gpu(scale) else "CPU core"), ""]
    lines += ["```console", f"$ python benchmarks/evidence/evidence.py --again {names}", "```", ""]
    lines += [line for grid in grids for line in _missing(grid)]
    if left_out:
        lines += [f"**Left out, because their text or model was another: {', '.join(left_out)}.**", ""]
    of_paper = sorted((group for group in groups if rate(group) == PAPERS_RATE), key=end)
    if any(_is_scratch(group) for group in of_paper):
        lines += [f"### At the paper's rate: {PAPERS_RATE:g} for all", "", *_results(of_paper).markdown()]
        lines += _to_scratch(_compared(of_paper))
    searched = [group for group in groups if rate(group) != PAPERS_RATE]
    if not any(_is_scratch(group) for group in searched):
        return [*lines, "No run from scratch is there yet to compare with.", ""]
    tuned = {group.name for group in searched}
    best = sorted((group for group in best_rates(groups) if group.name in tuned), key=end)
    rates = sorted({rate(group) for group in groups if group.name in tuned})
    if len({rate(group) for group in searched}) > 1:
        lines += ["### The tuned protocol: each recipe at its best rate", "", _OF_RATES, ""]
    else:
        lines += [f"### At one rate: {rate(searched[0]):g} for all", ""]
    lines += _results(best).markdown()
    edges = [f"{group.name} ({edge})" for group in best if (edge := at_the_edge(group, searched))]
    if edges:
        lines += [f"At the edge of the rates that were tried, so that another may be better: {'; '.join(edges)}.", ""]
    comparison = _compared(best)
    lines += _to_scratch(comparison)
    if comparison.target:
        lines += ["At equal FLOPs, as parts of what it took:", ""]
        lines += tables.budget_table(best, comparison.target).markdown()
    shown = [group for group in best[:_CURVES] if group is not comparison.baseline] + [comparison.baseline]
    curves = draw(shown, comparison.baseline, comparison.target)["loss_against_flops.png"]
    for name, figure in (("ends", _ends(comparison)), ("curves", curves)):
        figure.savefig(folder / f"{scale}-{name}.png", dpi=150)
        lines += [f"![{_CAPTIONS[name]}]({scale}-{name}.png)", ""]
    if len(rates) > 1:
        lines += ["Final held-out loss at every rate that was tried:", "", *_every_rate(groups, best, rates).markdown()]
    links = ", ".join(f"[{grid.stem}]({grid.stem}) ([sweep]({grid.name}))" for grid in grids)
    return [*lines, f"Raw results, a folder a run: {links}.", ""]


def _of_one_text(runs: Sequence[RunHistory]) -> tuple[list[RunHistory], list[str]]:
    """Those that can be compared with the first, and the grids of the others: a machine's own text may change."""
    kept, left_out = [runs[0]], set()
    for run in runs[1:]:
        try:
            check_comparable([runs[0], run])
            kept.append(run)
        except UserError:
            left_out.add(f"`{run.folder.parent.name}`")
    return kept, sorted(left_out)


def _missing(grid: Path) -> list[str]:
    """A line where runs of a grid have no results."""
    columns = yaml.safe_load(grid.read_text())["grid"]
    expected = prod(len(column) for column in columns.values())
    seeds = [f",seed={seed}" for seed in columns["seed"]]
    found = sum(path.parent.name.endswith(tuple(seeds)) for path in grid.with_suffix("").glob("*/metrics.jsonl"))
    if found >= expected:
        return []
    return [
        f"**Of the {expected} runs of `{grid.stem}` {expected - found} are not here: they failed or were not made.**",
        "",
    ]


def _in_words(runs: Sequence[RunHistory], device: str) -> str:
    recipe, shape = runs[0].recipe, runs[0].recipe["model"]
    steps = mode(run.recipe["steps"] for run in runs)
    return (
        f"{shape['family']}, {shape['num_layers']} layers x {shape['hidden_size']}, vocabulary "
        f"{shape['vocab_size']:,}; {steps:,} steps of {recipe['global_batch_size']} x {recipe['seq_len']} "
        f"tokens of `{recipe['data']}`; {len(runs)} runs in {runs[0].start.get('precision', 'fp32')}, each on one "
        f"{device}. Held-out losses are of {recipe['eval_samples']:,} x {recipe['seq_len']} tokens, the same for all "
        "runs, means over seeds where there are several, ± their standard deviation. *Less scratch's* is the mean "
        "difference from scratch with the same seed, ± its standard deviation."
    )


def _is_scratch(group: Group) -> bool:
    return bool(group.flat["method.name"] == "scratch")


def _scratch(groups: Sequence[Group]) -> Group:
    """That from scratch which ends lowest, whatever its schedule, among those of the usual length."""
    usual = mode(group.flat["steps"] for group in groups)
    of_scratch = [group for group in groups if _is_scratch(group)]
    return min((group for group in of_scratch if group.flat["steps"] == usual), key=end, default=of_scratch[0])


def _flops(group: Group) -> float:
    return fmean(run.final.cost.flops for run in group.shown)


def _results(groups: Sequence[Group]) -> Table:
    """Final losses, costs, and what happened at the growths."""
    headings = ("recipe", "rate", "seeds", "cost", "final held-out loss", "less scratch's")
    headings += ("greatest loss change at each growth", f"mean gradient of {AFTER_GROWTH} steps after")
    scratch = _scratch(groups)
    rows = [
        [
            group.name,
            f"{rate(group):g}",
            str(len(group.shown)),
            f"{_flops(group) / _flops(scratch):.1%}",
            tables.loss_spread([run.final.loss for run in group.shown]),
            NOTHING if group is scratch else _difference(group, scratch),
            _per_growth([_loss_changes(run) for run in group.shown], max),
            _per_growth([_gradients(run) for run in group.shown], fmean),
        ]
        for group in groups
    ]
    return Table(headings, rows)


def _difference(group: Group, scratch: Group) -> str:
    by_seed = {run.seed: run.final.loss for run in scratch.shown}
    differences = [run.final.loss - by_seed[run.seed] for run in group.shown if run.seed in by_seed]
    if not differences:
        return NOTHING
    spread = Spread.of(differences)
    return f"{spread.mean:+.4f}" + ("" if spread.deviation is None else f" ± {spread.deviation:.4f}")


def _loss_changes(run: RunHistory) -> list[float | None]:
    pairs = [(growth["loss_before"], growth["loss_after"]) for growth in run.growths]
    return [None if None in pair else abs(pair[1] - pair[0]) for pair in pairs]


def _gradients(run: RunHistory) -> list[float | None]:
    """Mean gradient norm of the steps after each growth; None where one is not finite."""
    means: list[float | None] = []
    for growth in run.growths:
        norms = [e["grad_norm"] for e in run.steps if growth["step"] < e["step"] <= growth["step"] + AFTER_GROWTH]
        means.append(None if None in norms or not norms else fmean(norms))
    return means


def _per_growth(values: Sequence[Sequence[float | None]], combine: Callable[[list[float]], float]) -> str:
    """Of each growth, what all seeds' values come to."""
    cells: list[str] = []
    for of_one in zip(*values, strict=False):
        known = [value for value in of_one if value is not None]
        cells.append(f"{combine(known):.3f}" if len(known) == len(of_one) else NOTHING)
    return ", ".join(cells) or NOTHING


def _compared(groups: Sequence[Group]) -> Comparison:
    baseline = _scratch(groups)
    return Comparison(groups, baseline, Target.of(baseline))


def _to_scratch(comparison: Comparison) -> list[str]:
    """What came to the loss of scratch, and at what cost.

    Without times: two runs at once, and whatever else ran beside them, share a machine.
    """
    if not comparison.target:
        return []
    table = tables.reach_table(comparison.groups, comparison.baseline, comparison.target)
    columns = table.headings.index("tokens") + 1
    shown = Table(table.headings[:columns], [row[:columns] for row in table.rows])
    return [f"To the final loss of {comparison.baseline.name}, {comparison.target.loss:.4f}:", "", *shown.markdown()]


def _every_rate(groups: Sequence[Group], best: Sequence[Group], rates: Sequence[float]) -> Table:
    losses = {(group.name, rate(group)): [run.final.loss for run in group.shown] for group in groups}
    rows = []
    for group in best:
        of_group = [losses.get((group.name, value)) for value in rates]
        rows.append([group.name, *(tables.loss_spread(found) if found else NOTHING for found in of_group)])
    return Table(("recipe", *(f"{value:g}" for value in rates)), rows)


def _ends(comparison: Comparison) -> Figure:
    """Final loss against cost, one standard deviation to either side, with the curve of scratch."""
    figure, axes = new_figure(width=8.0, height=3.8 + 0.2 * len(comparison.groups))
    full = _flops(comparison.baseline)
    late = [point for point in comparison.baseline.mean_curve() if point.cost.flops > _LATE * full]
    axes.plot([point.cost.flops / full for point in late], [point.loss for point in late], color=GREY, linewidth=1)
    for number, group in enumerate(comparison.groups):
        losses = [run.final.loss for run in group.shown]
        deviation = stdev(losses) if len(losses) > 1 else 0.0
        style: dict[str, Any] = {**line_style(number), "linestyle": "", "elinewidth": 1, "markersize": 6}
        axes.errorbar(_flops(group) / full, fmean(losses), yerr=deviation, label=group.name, **style)
    axes.set(xlabel="training cost, as a part of scratch's", ylabel="final held-out loss (nats per token)")
    figure.legend(loc="outside lower left", frameon=False, fontsize=8)
    return figure
