"""Stores runs as records: files that can be read, compared and kept, with all that the pages need.

Beside GRID.yaml, which says what was run, is a folder GRID with

    common.yaml     what all runs have in common, by flat keys
    runs.csv        a line a run: what it was, what it came to, and the keys in which runs differ
    curves.parquet  a line an evaluation or growth: what had been spent by then, and the losses

The recipe's keys stand as on a command line. What else config.yaml and the start of metrics.jsonl hold begins with
`config.` and `start.`. A loss that was no finite number is `null`. A run that was under way when it was recorded has
`finished` false, and what it had come to by then. A run without that key is finished.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
from table import Row, flat, is_table, nested, read_rows, write_rows

from apollo_ds.config.recorded import with_defaults
from apollo_ds.experiments.history import Event, NotYetEvaluated, RunHistory
from apollo_ds.experiments.sweep.grid import Grid

AFTER_GROWTH = 10
"""Steps over whose gradients a growth's mean is taken."""
_FIRST = ("id", "seed", "commit", "diff", "loss", "flops", "seconds")
_NO_OPTIONS = {*_FIRST, "finished"} - {"seed"}
_PARTS = ("config.", "start.")
_GIT = {"git_commit": "commit", "git_diff": "diff"}
"""What config.yaml has of the code, and the columns for it."""
_CURVES = {
    "run": "str",
    "event": "str",
    "step": "int64",
    "flops": "float64",
    "tokens": "int64",
    "seconds": "float64",
    "loss": "float64",
    "from": "Int64",
    "to": "Int64",
    "loss_before": "float64",
    "loss_after": "float64",
    "gradient": "float64",
}
"""The columns of curves.parquet. An evaluation has a loss; a growth has the others behind it."""


def record(path: Path, anew: bool) -> str:
    """Add the runs of a grid to its record, in place of those of the same id that are there.

    A run that is under way does not replace a finished one.

    Args:
        path: the grid's file.
        anew: forget the runs of the record that have no folder.
    Returns:
        What was done, in words; that there was nothing to record, if no run has a held-out loss yet.
    Raises:
        UserError: the file is wrong, or a run folder is damaged.
    """
    folders = sorted(path.parent for path in Grid.parse(path).out.glob("*/metrics.jsonl"))
    found = {folder.name: run for folder in folders if (run := _evaluated(folder))}
    if not found:
        return f"{path}: nothing to record; none of its runs has a held-out loss yet"
    record = path.with_suffix("")
    before = {run.folder.name: _as_of_today(run) for run in read(record)} if is_table(record) and not anew else {}
    kept = {name for name, run in found.items() if not run.finished and name in before and before[name].finished}
    runs = before | {name: run for name, run in found.items() if name not in kept}
    write(record, [runs[name] for name in sorted(runs)])
    return f"{record}: {_in_words(list(runs.values()), len(found) - len(kept), len(folders) - len(found))}"


def _evaluated(folder: Path) -> RunHistory | None:
    try:
        return of_folder(folder)
    except NotYetEvaluated:
        return None


def _in_words(runs: Sequence[RunHistory], from_folders: int, without_loss: int) -> str:
    under_way = sum(not run.finished for run in runs)
    parts = [f"{len(runs)} runs, {from_folders} of them from their folders"]
    parts += [f"{under_way} under way"] if under_way else []
    parts += [f"{without_loss} without a held-out loss yet and left out"] if without_loss else []
    return "; ".join(parts)


def of_folder(folder: Path) -> RunHistory:
    """A run folder's history, each growth with the mean gradient after it.

    Raises:
        UserError: it is damaged.
        NotYetEvaluated: it holds no held-out loss yet.
    """
    run = RunHistory.read(folder)
    return replace(run, growths=[{**growth, "gradient": _gradient(run, growth["step"])} for growth in run.growths])


def _gradient(run: RunHistory, step: int) -> float | None:
    """The mean gradient norm of the steps after a growth; None where one is not finite."""
    norms = [event["grad_norm"] for event in run.steps if step < event["step"] <= step + AFTER_GROWTH]
    return None if None in norms or not norms else fmean(norms)


def _as_of_today(run: RunHistory) -> RunHistory:
    """The same run; keys that recipes have got since then have what the run did."""
    return replace(run, config={**run.config, "recipe": with_defaults(run.recipe)})


def write(folder: Path, runs: Sequence[RunHistory]) -> None:
    """Write a record of runs that have been evaluated."""
    first = _FIRST if all(run.finished for run in runs) else (*_FIRST, "finished")
    write_rows(folder, [_row(run) for run in runs], first)
    lines = [{"run": run.folder.name, **line} for run in runs for line in _curve(run)]
    curves = pd.DataFrame(lines, columns=list(_CURVES)).astype(_CURVES)
    curves.to_parquet(folder / "curves.parquet", index=False, compression="zstd")


def _row(run: RunHistory) -> Row:
    git = {column: run.config[key] for key, column in _GIT.items() if run.config.get(key)}
    config = {key: value for key, value in run.config.items() if key not in ("recipe", "run", *_GIT)}
    start = {key: value for key, value in run.start.items() if key not in ("event", "step")}
    recipe = {key: value for key, value in run.recipe.items() if key != "out"}
    last = {key: run.evals[-1][key] for key in ("loss", "flops", "seconds")}
    # Records without runs under way have no such column, as those that were written before it was there.
    state = {} if run.finished else {"finished": False}
    parts = {**flat(recipe), **flat(config, "config."), **flat(start, "start.")}
    return {"id": run.folder.name, **git, **last, **state, **parts}


def _curve(run: RunHistory) -> list[Row]:
    evals = [{**event, "tokens": run.cost_at(event["step"]).tokens} for event in run.evals]
    growths = [{**event, **vars(run.cost_at(event["step"]))} for event in run.growths]
    return [{key: event.get(key) for key in list(_CURVES)[1:]} for event in (*evals, *growths)]


def read(folder: Path) -> list[RunHistory]:
    """The runs of a record, also those under way; of their steps only those at which they were evaluated or grew."""
    curves: dict[str, list[Event]] = {}
    for line in pd.read_parquet(folder / "curves.parquet").to_dict("records"):
        event = {str(key): None if pd.isna(value) else value for key, value in line.items()}
        curves.setdefault(event["run"], []).append(event)
    return [_history(row, curves[row["id"]]) for row in read_rows(folder)]


def split(runs: Sequence[RunHistory]) -> tuple[list[RunHistory], list[RunHistory]]:
    """The finished runs, whose last losses are final ones, and those that were under way."""
    return [run for run in runs if run.finished], [run for run in runs if not run.finished]


def _history(row: Row, events: list[Event]) -> RunHistory:
    recipe = nested((key, value) for key, value in row.items() if key not in _NO_OPTIONS and not key.startswith(_PARTS))
    git = {key: row[column] for key, column in _GIT.items() if column in row}
    return RunHistory(
        folder=Path(row["id"]),
        config={"recipe": recipe, **git, **_part("config", row)},
        steps=events,
        evals=[event for event in events if event["event"] == "eval"],
        growths=[event for event in events if event["event"] == "growth"],
        rollbacks=[],
        start=_part("start", row),
        finished=row.get("finished", True),
    )


def _part(name: str, row: Row) -> dict[str, Any]:
    """What begins with `name.`."""
    return nested((key, value) for key, value in row.items() if key.startswith(f"{name}.")).get(name, {})
