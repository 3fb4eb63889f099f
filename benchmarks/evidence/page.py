"""A question's page, made from the records beside it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, mode, stdev
from typing import Any

from matplotlib.figure import Figure
from questions import conclusion
from records import AFTER_GROWTH, read, split
from table import is_table

from apollo_ds.errors import UserError
from apollo_ds.experiments.compare import tables
from apollo_ds.experiments.compare.comparable import check_comparable
from apollo_ds.experiments.compare.comparison import Comparison
from apollo_ds.experiments.compare.figures import draw_losses
from apollo_ds.experiments.compare.groups import Group, group_runs
from apollo_ds.experiments.compare.labels import Names
from apollo_ds.experiments.compare.measures import Spread, Target
from apollo_ds.experiments.compare.text import NOTHING, Table
from apollo_ds.experiments.compare.tuning import at_the_edge, best_rates, end, rate
from apollo_ds.experiments.history import RunHistory
from apollo_ds.experiments.line_labels import Label, name_lines
from apollo_ds.experiments.sweep.grid import Grid
from data_prep.figure_style import GREY, line_style, new_figure, save_picture, set_title

PAPERS_RATE = 1e-4
"""The learning rate of Apollo's paper and scripts, for every method."""
_OF_RATES = (
    "One seed looked for the rate. Where there are three seeds, the other two followed at that rate. The first seed is "
    "one of the three. So a rate that it favoured by chance makes a recipe's mean look a little better than it is."
)
_LATE = 0.25
"""Where the curve of scratch begins in the figure of where recipes ended, as a part of its cost."""
_CURVES = 8
"""Of more recipes than these, the figure of losses against cost has the best."""
_CAPTIONS = {"curves": "Held-out loss against training cost", "ends": "Where each recipe ended: cost and held-out loss"}


def write(folder: Path) -> None:
    """Write README.md: the question, the conclusion, and what was run, with tables and pictures for each grid."""
    lines = [(folder / "question.md").read_text().rstrip(), "", *conclusion(folder), ""]
    for grid in sorted(folder.glob("*.yaml"), key=lambda path: path.stem):
        if is_table(grid.with_suffix("")):
            lines += _grid(grid)
    (folder / "README.md").write_text("\n".join(lines).rstrip() + "\n")


def reached_by(groups: Sequence[Group]) -> list[str]:
    """What came to the final loss of scratch, the lowest of the usual length, and at what cost."""
    return _to_scratch(_compared(groups))


def by_recipe(runs: Sequence[RunHistory]) -> list[Group]:
    """The runs without regard to seeds; a group is called what its runs' folders are, without rate and seed."""
    return [replace(group, name=group.runs[0].folder.name.split(",learning_rate=")[0]) for group in group_runs(runs)]


def _grid(path: Path) -> list[str]:
    name, record = path.stem, path.with_suffix("")
    finished, under_way = split(read(record))
    if not finished:
        return [f"## {name}", "", *commands(path), *missing(path, [], under_way)]
    runs, left_out = _of_one_text(finished)
    groups = by_recipe(runs)
    lines = [f"## {name}", "", _in_words(runs, "GPU" if name.endswith("-gpu") else "CPU core"), ""]
    lines += [*commands(path), *missing(path, runs, under_way)]
    if left_out:
        lines += [f"**Left out, because their text or model was another: {', '.join(left_out)}.**", ""]
    of_paper = sorted((group for group in groups if rate(group) == PAPERS_RATE), key=end)
    if any(_is_scratch(group) for group in of_paper):
        lines += [f"### At the paper's rate: {PAPERS_RATE:g} for all", "", *_results(of_paper).markdown()]
        lines += reached_by(of_paper)
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
    curves = draw_losses(shown, "flops", comparison.target if len(shown) > 1 else None)
    for picture, figure in (("ends", _ends(comparison)), ("curves", curves)):
        save_picture(figure, record / f"{picture}.png")
        lines += [f"![{_CAPTIONS[picture]}]({name}/{picture}.png)", ""]
    if len(rates) > 1:
        lines += ["Final held-out loss at every rate that was tried:", "", *_every_rate(groups, best, rates).markdown()]
    return [*lines, f"The grid is [{path.name}]({path.name}), its record [{name}/runs.csv]({name}/runs.csv).", ""]


def commands(path: Path) -> list[str]:
    """What made a grid's part of a page, as lines of it."""
    grid = f"benchmarks/evidence/{path.parent.name}/{path.name}"
    sweep = f"$ apollo-ds sweep {grid}"
    record = f"$ python benchmarks/evidence/evidence.py record {grid}"
    return ["```console", sweep, record, "$ python benchmarks/evidence/evidence.py pages", "```", ""]


def _of_one_text(runs: Sequence[RunHistory]) -> tuple[list[RunHistory], list[str]]:
    """Those that can be compared with the first, and the names of the others: a machine's own text may change."""
    kept, left_out = [runs[0]], []
    for run in runs[1:]:
        try:
            check_comparable([runs[0], run])
            kept.append(run)
        except UserError:
            left_out.append(f"`{run.folder}`")
    return kept, left_out


def missing(path: Path, runs: Sequence[RunHistory], under_way: Sequence[RunHistory]) -> list[str]:
    """A line where some runs of a grid are not among those of its page, and one where some are under way."""
    expected = {cell.name for cell in Grid.parse(path).cells}
    missing = expected - {run.folder.name for run in (*runs, *under_way)}
    told = []
    if under_way:
        are = "is" if len(under_way) == 1 else "are"
        told.append(f"{len(under_way)} of the runs of `{path.stem}` {are} under way. No table here counts them.")
    if missing:
        of = f"Of the {len(expected)} runs of `{path.stem}`"
        told.append(f"{of} {len(missing)} are not here: they failed or were not made.")
    return [line for sentence in told for line in (f"**{sentence}**", "")]


def _in_words(runs: Sequence[RunHistory], device: str) -> str:
    recipe, shape = runs[0].recipe, runs[0].recipe["model"]
    steps, ranks = mode(run.recipe["steps"] for run in runs), mode(run.config["ranks"] for run in runs)
    precision, devices = runs[0].start.get("precision", "fp32"), f"one {device}" if ranks == 1 else f"{ranks} {device}s"
    return (
        f"{shape['family']}, {shape['num_layers']} layers x {shape['hidden_size']}, vocabulary "
        f"{shape['vocab_size']:,}; {steps:,} steps of {recipe['global_batch_size']} x {recipe['seq_len']} "
        f"tokens of `{recipe['data']}`; {len(runs)} runs in {precision}, each on {devices}. "
        f"Held-out losses are of {recipe['eval_samples']:,} x {recipe['seq_len']} tokens, the same for all runs. Where "
        "there are several seeds, a loss is their mean ± their standard deviation. *Less scratch's* is the mean "
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
            _per_growth([[growth["gradient"] for growth in run.growths] for run in group.shown], fmean),
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
    figure, axes = new_figure(height=4.2)
    groups, full = comparison.groups, _flops(comparison.baseline)
    late = [point for point in comparison.baseline.mean_curve() if point.cost.flops > _LATE * full]
    axes.plot([point.cost.flops / full for point in late], [point.loss for point in late], color=GREY, linewidth=1)
    names, ends = Names.of(groups), []
    for number, (group, name) in enumerate(zip(groups, names.labels, strict=True)):
        losses = [run.final.loss for run in group.shown]
        deviation = stdev(losses) if len(losses) > 1 else 0.0
        style: dict[str, Any] = {**line_style(number), "linestyle": "", "elinewidth": 1, "markersize": 6}
        axes.errorbar(_flops(group) / full, fmean(losses), yerr=deviation, label=name, **style)
        ends.append(Label(_flops(group) / full, fmean(losses), f"{name}  {fmean(losses):.3f}", style["color"]))
    axes.set(xlabel="training cost, as a part of scratch's", ylabel="final held-out loss (nats per token)")
    set_title(figure, names.title, ["grey: the held-out loss of scratch as it trains"])
    name_lines(figure, axes, ends)
    return figure
