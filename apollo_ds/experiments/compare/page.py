"""Write a comparison as a page, and print it in a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from math import nan
from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure
from rich.console import Console

from apollo_ds.errors import UserError
from apollo_ds.experiments.compare import tables
from apollo_ds.experiments.compare.answer import opening
from apollo_ds.experiments.compare.comparison import Comparison
from apollo_ds.experiments.compare.figures import draw
from apollo_ds.experiments.compare.frontier_figure import draw_frontier
from apollo_ds.experiments.compare.frontier_page import frontier_lines, print_frontier
from apollo_ds.experiments.compare.groups import Group
from apollo_ds.experiments.compare.lineage import lineage_remarks
from apollo_ds.experiments.compare.measures import BUDGETS, has_learned
from apollo_ds.experiments.compare.stages import full_depth_cost
from apollo_ds.experiments.compare.text import loss_text, say
from apollo_ds.experiments.compare.tuning import at_the_edge
from apollo_ds.experiments.history import RunHistory
from data_prep.counted import counted
from data_prep.figure_style import save_figure
from data_prep.files import write_text

_TITLE = "Comparison"
_RUNS = ("seeds", "state", "steps", "final held-out loss", "FLOPs", "seconds")
_REACH = ("reached by", "FLOPs", "saving S", "S of time")
"""The columns that a terminal shows. The page has all columns."""
_CAPTIONS = {
    "frontier": "Final held-out loss against training cost, and below its distance from the best fixed model. Bars are "
    "one standard deviation over seeds to either side.",
    "loss_against_flops": "Held-out loss against training cost.",
    "loss_against_tokens": "Held-out loss against the text read.",
    "loss_against_time": "Held-out loss against the time of training, evaluation, growth and saving.",
    "saving_against_loss": "Saving in FLOPs, for each loss that the baseline came to. Before the last loss, learning "
    "rates have not come to their end, and curves of different schedules are not alike.",
    "loss_around_growth": "The loss around each growth. Training loss is that of each step, at the depth that it ran; "
    "held-out loss is at the greatest depth that the stage trains.",
    "depth_and_loss": "Training loss of each step, by the layers that it ran.",
}
"""The caption of each figure. Its first sentence is the text for readers who cannot see the figure."""
_OF_EQUAL_LOSS = """\
- Saving S = 1 - C_method / C_scratch; speed-up U = C_scratch / C_method - 1. C_method is the mean cost of a recipe's
  seeds; ± is the standard deviation of the seeds' own S and U, with the baseline's cost and loss taken as exact.
- A run reaches the loss between its first evaluation at or below it and the one before, where the straight line between
  them over FLOPs crosses it; tokens and seconds are taken at the same part of the way. Where the first evaluation of
  all is at or below it, that one's cost counts.
- C_scratch is where the mean curve of the baseline's seeds first reaches the loss in this sense: its end, unless its
  loss rose towards the end.
- A recipe has a cost only if all its runs reach the loss. † marks a recipe or run whose last loss is above it again.
- wall / FLOPs saving: S of time over S of FLOPs; 1 if all that is saved in FLOPs is saved in time. Time is that of
  training, evaluation, growth and saving, without starts."""
_OF_EQUAL_FLOPS = """\
Held-out loss after {parts} of C_scratch, on a straight line over FLOPs between the evaluations before and after. A run
that ended with fewer counts with its last loss, and the part of the budget that it spent is given, unless it is 99% or
more."""
_OF_STAGES = """\
wall_saving / flops_saving: of the FLOPs that a token of a stage saves against one {baseline}, how much is saved in
time. A stage's time includes the growth into it and its evaluations."""


def write_page(comparison: Comparison, out: Path) -> Path:
    """Write compare.md and its figures, as .png and as .pdf for papers. Return the page's path.

    Raises:
        UserError: the folder cannot be written to, or holds files of these names that no comparison wrote.
    """
    page = out / "compare.md"
    figures = _figures(comparison)
    names = [page.name, *(f"{Path(name).stem}{suffix}" for name in figures for suffix in (".png", ".pdf"))]
    there = [name for name in names if (out / name).exists()]
    if there and not _is_comparison(page):
        raise UserError(f"{out}: holds {there[0]}, which no comparison wrote; move it, or name another folder")
    write_markdown(page, _TITLE, [], {})  # before the figures: if this is interrupted, it shows that they are ours
    lines = [*lines_of(comparison), *figure_lines(figures)]
    return write_markdown(page, _TITLE, lines, figures)


def figure_lines(names: Iterable[str]) -> list[str]:
    """The lines of a page that show figures, each with its caption below it."""
    lines = []
    for name in names:
        caption = _CAPTIONS[name.removesuffix(".png")]
        title, *_ = caption.removesuffix(".").split(". ")
        lines += [f"![{title}]({name})", "", caption, ""]
    return lines


def _figures(comparison: Comparison) -> dict[str, Figure]:
    groups, frontier = comparison.groups, comparison.frontier
    figures = {"frontier.png": draw_frontier(frontier, groups)} if frontier else {}
    return figures | draw(groups, comparison.baseline, comparison.target)


def _is_comparison(page: Path) -> bool:
    return page.is_file() and page.read_bytes().startswith(f"# {_TITLE}\n".encode())


def write_markdown(page: Path, title: str, lines: list[str], figures: Mapping[str, Figure]) -> Path:
    """Write a page of these lines and its figures. Each file is written in one step, and the page last.

    Raises:
        UserError: the page's folder cannot be written to.
    """
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            save_figure(figure, page.with_name(name))
        write_text(page, "\n".join([f"# {title}", "", *lines]))
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{page.parent}: cannot be written to: {reason}; name another folder, or free space") from None
    return page


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the answer, the runs, and their costs to reach the baseline's loss, within 80 columns."""
    groups, baseline, target = comparison.groups, comparison.baseline, comparison.target
    for sentence in opening(comparison):
        say(console, sentence)
    runs = tables.runs_table(groups)
    all_finished = all(run.finished for group in groups for run in group.runs)
    console.print(runs.only(*(heading for heading in _RUNS if not (all_finished and heading == "state"))))
    if comparison.frontier:
        print_frontier(groups, comparison.frontier, console)
    if target and len(groups) > 1 and target.is_learned:
        beginning = "Against one baseline, to" if comparison.frontier else "To"
        say(console, f"{beginning} {_target_in_words(comparison)}:")
        table = tables.reach_table(groups, baseline, target).only(*_REACH)
        console.print(table)
        if "saving S" in table.headings:
            say(
                console,
                "saving S = 1 - cost / cost of the baseline, in FLOPs and in seconds; ± is the spread over seeds.",
            )
        for sentence in _of_one_seed(groups):
            say(console, sentence)
    for remark in _remarks(comparison):
        say(console, remark)


def lines_of(comparison: Comparison) -> list[str]:
    """The lines of a comparison's page below its title."""
    return [line for told in opening(comparison) for line in (told, "")] + sections(comparison)


def sections(comparison: Comparison) -> list[str]:
    """The lines of the page from the first table on. A report of one run has its own sentences before them."""
    groups, target = comparison.groups, comparison.target
    lines = tables.runs_table(groups).markdown()
    if len(groups) > 1:
        lines += ["± is the standard deviation over seeds; a cost's is given as a part of it.", ""]
    lines += [line for remark in _remarks(comparison) for line in (remark, "")]
    if len(groups) > 1:
        lines += _differences(comparison)
    if comparison.frontier:
        lines += frontier_lines(groups, comparison.frontier)
    if len(groups) > 1:
        lines += _at_equal_loss(comparison) + _at_equal_flops(comparison)
    if sum(len(group.runs) for group in groups) > 1:
        compared = target if target and target.is_learned and len(groups) > 1 else None
        lines += ["## Every run", "", *tables.every_run_table(groups, compared).markdown()]
    return lines + _stages(comparison) + _growths(comparison)


def _target_in_words(comparison: Comparison) -> str:
    seeds = len(comparison.baseline.finished)
    loss = comparison.target.loss if comparison.target else None
    mean = f", the mean of {seeds} seeds" if seeds > 1 else ""
    return f"the final held-out loss of {comparison.baseline.name}, {loss_text(loss)} nats per token{mean}"


def _of_one_seed(groups: Sequence[Group]) -> list[str]:
    """A sentence that names the recipes with only one seed. Empty if there are none."""
    names = [group.name for group in groups if len(group.shown) == 1]
    if not names:
        return []
    return [f"Of one seed, so that a saving has no spread and may be chance: {' and '.join(names)}."]


def _remarks(comparison: Comparison) -> list[str]:
    """Sentences that the reader should know before the numbers."""
    groups = comparison.groups
    remarks = []
    if not comparison.is_of_one_model:
        remarks.append("Recipes train models of different sizes, so they are compared with fixed models alone.")
    if comparison.tried:
        remarks.append("Each recipe is shown at the learning rate, of those that were tried, at which it ends lowest.")
    for group in groups:
        if edge := at_the_edge(group, comparison.tried):
            remarks.append(f"{group.name} has the {edge} rate that was tried for it; one beyond may be better.")
    for group in groups:
        left_out = [run for run in group.runs if not run.finished]
        if group.finished and left_out:
            told = " and ".join(f"seed {run.seed}" for run in left_out)
            remarks.append(f"{group.name}: {told} has not finished and is in no mean or figure.")
        for run in group.runs:
            if run.source:
                spent = f"{run.source.flops:.4g} FLOPs and {run.source.seconds:,.0f} seconds"
                remarks.append(f"{run.folder} starts from {run.start['source']}, on which {spent} had been spent.")
            elif "source" in run.start:
                remarks.append(f"{run.folder} starts from {run.start['source']}, whose cost is not known.")
            for rollback in run.rollbacks:
                flops, seconds = (rollback.get(f"lost_{key}", nan) for key in ("flops", "seconds"))
                remarks.append(
                    f"{run.folder} went wrong at step {rollback['went_wrong_at']:,} and went back to "
                    f"{rollback['to']:,}: {flops:.4g} FLOPs and {seconds:,.0f} seconds were lost, and are in no table "
                    "or figure."
                )
    remarks += lineage_remarks([run for group in groups for run in group.runs])
    better = _better_than_the_baseline(comparison)
    if better:
        remarks.append(
            f"The baseline's own method ends lower as {' and '.join(better)}: compare with the best-tuned baseline."
        )
    fixed = comparison.frontier.runs if comparison.frontier else []
    machines = {_machine(run) for run in [*(run for group in groups for run in group.runs), *fixed]}
    if len(machines) > 1:
        remarks.append(f"Times do not compare: runs had {' and '.join(sorted(machines))}.")
    return remarks


def _better_than_the_baseline(comparison: Comparison) -> list[str]:
    """The names of other settings of the baseline's method that end lower."""
    if comparison.target is None:
        return []
    method = comparison.baseline.runs[0].recipe["method"]
    same = [group for group in comparison.groups if group.runs[0].recipe["method"] == method and group.finished]
    lower = [group for group in same if fmean(run.final.loss for run in group.finished) < comparison.target.loss]
    return [group.name for group in lower]


def _machine(run: RunHistory) -> str:
    precision = run.start.get("precision")
    return counted(run.config.get("ranks", 0), "rank") + (f" in {precision}" if precision else "")


def _differences(comparison: Comparison) -> list[str]:
    table = tables.differences_table(comparison.groups)
    if table is None:
        return ["The recipes differ in the method alone.", ""]
    return ["Beside the method, the recipes differ in:", "", *table.markdown()]


def _at_equal_loss(comparison: Comparison) -> list[str]:
    if comparison.target is None or not comparison.target.is_learned:
        return []
    return [
        "## Against one baseline, at its final loss" if comparison.frontier else "## At equal loss",
        "",
        f"What it takes to come to {_target_in_words(comparison)}.",
        "",
        *tables.reach_table(comparison.groups, comparison.baseline, comparison.target).markdown(),
        *(line for told in _of_one_seed(comparison.groups) for line in (told, "")),
        _OF_EQUAL_LOSS,
        "",
    ]


def _at_equal_flops(comparison: Comparison) -> list[str]:
    if comparison.target is None:
        return []
    parts = ", ".join(f"{part:.0%}" for part in BUDGETS)
    return [
        "## Against one baseline, at equal FLOPs" if comparison.frontier else "## At equal FLOPs",
        "",
        _OF_EQUAL_FLOPS.format(parts=parts),
        "",
        *tables.budget_table(comparison.groups, comparison.target).markdown(),
    ]


def _stages(comparison: Comparison) -> list[str]:
    """The stages of each recipe. If there is only one recipe, it is compared with its own steps at full depth."""
    lines = ["## Stage by stage", ""]
    if len(comparison.groups) == 1:
        (group,) = comparison.groups
        own = full_depth_cost(group) if has_learned(group) else None
        explained = [_OF_STAGES.format(baseline="of the last stage, in which all layers run"), ""] if own else []
        return [*lines, *explained, *tables.stage_table(group, own).markdown()]
    baseline = comparison.target.cost if comparison.target and comparison.target.is_learned else None
    if baseline:
        lines += [_OF_STAGES.format(baseline="of the baseline"), ""]
    for group in comparison.groups:
        lines += [
            f"### {group.name}",
            "",
            *tables.stage_table(group, baseline if has_learned(group) else None).markdown(),
        ]
    return lines


def _growths(comparison: Comparison) -> list[str]:
    table = tables.growth_table(comparison.groups)
    return ["## Around each growth", "", *table.markdown()] if table else []
