"""The page of what growing saves against the best fixed model for the same operations, made from its records."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from page import commands, missing, reached_by
from questions import conclusion
from records import read, split
from table import is_table

from apollo_ds.experiments.compare.distances import distances
from apollo_ds.experiments.compare.frontier import Frontier
from apollo_ds.experiments.compare.frontier_figure import draw_frontier
from apollo_ds.experiments.compare.frontier_page import frontier_remarks, frontier_table, points_table
from apollo_ds.experiments.compare.groups import Group, group_runs
from apollo_ds.experiments.compare.text import Table
from apollo_ds.experiments.history import RunHistory
from data_prep.figure_style import save_picture

_FIRST = "gpt2-muon"
"""The grid whose figure and table stand at the top of the page."""
_IN_FIGURE = 6
"""Recipes that a figure has room for: those of three seeds, then those that end lowest beside the best fixed model."""
_SETTLED = 3
"""Seeds from which a recipe comes before others in the figure."""
_CAPTION = "Final held-out loss against operations: fixed models as lines, recipes as points"
_COLUMNS = ("recipe", "seeds", "final held-out loss", "FLOPs", "best fixed model there", "distance in loss")
_COLUMNS += ("seeds below", "operations saved")
"""Of the table of distances: without times, since two runs at once, and whatever else ran, shared a machine."""

_WATCHED = ("eval_every", "save_every", "keep_every", "log_every")
"""How often a run was evaluated and saved: nothing of what it came to, so that seeds may differ in it."""


def write(folder: Path) -> None:
    """Write README.md: the question, what it came to, the first grid's figure and table, then all grids."""
    short, *rest = conclusion(folder)
    grids = [path for path in folder.glob("*.yaml") if is_table(path.with_suffix(""))]
    lines = [(folder / "question.md").read_text().rstrip(), "", short, ""]
    for number, path in enumerate(sorted(grids, key=lambda path: (path.stem != _FIRST, path.stem))):
        runs, under_way = _finished(path)
        told = [_in_words(path, runs), ""] if runs else []
        about = [f"## {path.stem}", "", *told, *commands(path), *missing(path, runs, under_way)]
        results, points = _compared(path, runs)
        results += _as_papers_measure(runs)
        lines += [*about, *results, *points] if number else [*results, *rest, "", *about, *points]
        lines += [
            f"The grid is [{path.name}]({path.name}), its record [{path.stem}/runs.csv]({path.stem}/runs.csv).",
            "",
        ]
    (folder / "README.md").write_text("\n".join(lines).rstrip() + "\n")


def grown_and_frontier(path: Path) -> tuple[list[Group], Frontier]:
    """The finished recipes of a grid's record that grow, nearest to the frontier first, and its fixed models.

    Raises:
        IndexError: no fixed model has finished.
    """
    runs, _ = _finished(path)
    frontier = Frontier.of([run for run in runs if _is_fixed(run)])
    return _nearest_first([run for run in runs if not _is_fixed(run)], frontier), frontier


def _finished(path: Path) -> tuple[list[RunHistory], list[RunHistory]]:
    """The runs of a grid's record that have finished, and those that have not."""
    return split([_as_trained(run) for run in read(path.with_suffix(""))])


def _compared(path: Path, runs: Sequence[RunHistory]) -> tuple[list[str], list[str]]:
    """What growing came to, and what fixed models came to, of finished runs."""
    if not any(_is_fixed(run) for run in runs):
        return [], ["No finished fixed model is there yet to compare with.", ""]
    grown, frontier = grown_and_frontier(path)
    points = ["The fixed models, at each of their lengths:", "", *points_table(frontier).markdown()]
    return _results(path, grown, frontier) if grown else [], points


def _as_trained(run: RunHistory) -> RunHistory:
    recipe = {key: value for key, value in run.recipe.items() if key not in _WATCHED}
    return replace(run, config={**run.config, "recipe": recipe})


def _is_fixed(run: RunHistory) -> bool:
    return bool(run.recipe["method"]["name"] == "scratch")


def _nearest_first(runs: Sequence[RunHistory], frontier: Frontier) -> list[Group]:
    """Recipes named after their folders, those furthest below the frontier first, and those outside of it last."""
    groups = [replace(group, name=_name(group.runs[0])) for group in group_runs(runs)]
    far = {one.group.name: one.loss.mean if one.loss else float("inf") for one in distances(groups, frontier)}
    return sorted(groups, key=lambda group: far[group.name])


def _name(run: RunHistory) -> str:
    """Return the name of a run's folder, without the seed."""
    return ",".join(part for part in run.folder.name.split(",") if not part.startswith("seed="))


def _results(path: Path, groups: Sequence[Group], frontier: Frontier) -> list[str]:
    save_picture(
        draw_frontier(frontier, sorted(groups, key=lambda group: len(group.runs) < _SETTLED)[:_IN_FIGURE]),
        path.with_suffix("") / "frontier.png",
    )
    table = frontier_table(groups, frontier)
    columns = [table.headings.index(name) for name in _COLUMNS]
    shown = Table(_COLUMNS, [[row[column] for column in columns] for row in table.rows])
    remarks = [line for told in frontier_remarks(groups, frontier) for line in (told, "")]
    return [f"![{_CAPTION}]({path.stem}/frontier.png)", "", *shown.markdown(), *remarks]


def _as_papers_measure(runs: Sequence[RunHistory]) -> list[str]:
    """What came to scratch's final loss, and at what cost, of the runs under a cosine at each learning rate.

    Only there: under a level rate a curve is no line of final losses, so that scratch's own says nothing.
    """
    under_cosine = [run for run in runs if run.recipe["lr_schedule"] == "cosine"]
    deepest = max((run.recipe["model"]["num_layers"] for run in under_cosine), default=0)
    of_all_layers = [run for run in under_cosine if run.recipe["model"]["num_layers"] == deepest]
    lines: list[str] = []
    for one in dict.fromkeys(run.recipe["learning_rate"] for run in of_all_layers):
        at_rate = [run for run in of_all_layers if run.recipe["learning_rate"] == one]
        if not all(any(_is_fixed(run) is kind for run in at_rate) for kind in (True, False)):
            continue
        groups = [replace(group, name=_name(group.runs[0])) for group in group_runs(at_rate)]
        lines += [f"As papers measure, beside scratch alone, at a learning rate of {one:g}:", ""]
        lines += reached_by(groups)
    return lines


def _in_words(path: Path, runs: Sequence[RunHistory]) -> str:
    recipe, shape = runs[0].recipe, runs[0].recipe["model"]
    device, hours = ("GPU", "GPU-hours") if path.stem.endswith("-gpu") else ("CPU core", "core-hours")
    optimizers = " or ".join(dict.fromkeys(run.recipe["optimizer"]["name"] for run in runs))
    seconds = sum(run.final.cost.seconds for run in runs)
    return (
        f"{shape['family']} of {shape['hidden_size']} units, vocabulary {shape['vocab_size']:,}, trained by "
        f"{optimizers} on `{recipe['data']}` in steps of {recipe['global_batch_size']} x "
        f"{recipe['seq_len']} tokens. There are {len(runs)} runs, each on one {device}. Their times add up to "
        f"{seconds / 3600:.1f} {hours}; steps that branches share are counted in each. Held-out losses are of "
        f"{recipe['eval_samples']:,} x {recipe['seq_len']} tokens, the same for all runs. ± is the standard deviation "
        "over seeds."
    )
