"""Runs as records: what their pages need of them, in files that can be read, compared and kept.

Beside GRID.yaml, which says what was run, is a folder GRID with

    common.yaml     what all runs have in common, by flat keys
    runs.csv        a line a run: what it was, what it came to, and the keys in which runs differ
    curves.parquet  a line an evaluation or growth: what had been spent by then, and the losses

The recipe's keys stand as on a command line. What else config.yaml and the start of metrics.jsonl hold begins with
`config.` and `start.`. A loss that was no finite number is `null`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
from table import Row, flat, is_table, nested, read_rows, write_rows

from apollo_ds.config.recorded import with_defaults
from apollo_ds.errors import UserError
from apollo_ds.experiments.history import Event, NotYetEvaluated, RunHistory
from apollo_ds.experiments.sweep.grid import Grid

AFTER_GROWTH = 10
"""Steps over whose gradients a growth's mean is taken."""
_FIRST = ("id", "seed", "commit", "diff", "loss", "flops", "seconds")
_NO_OPTIONS = {*_FIRST} - {"seed"}
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
    """Add the finished runs of a grid to its record, in place of those of the same id that are there.

    Args:
        path: the grid's file.
        anew: forget the runs of the record that have no folder.
    Returns:
        What was done, in words.
    Raises:
        UserError: the file is wrong, a run folder is damaged, or none is finished.
    """
    folders = sorted(path.parent for path in Grid.parse(path).out.glob("*/metrics.jsonl"))
    found = {folder.name: run for folder in folders if (run := _finished(folder))}
    if not found:
        raise UserError(f"{path}: none of its runs is finished; train them with `apollo-ds sweep {path}`")
    record = path.with_suffix("")
    before = read(record) if is_table(record) and not anew else []
    runs = {run.folder.name: _as_of_today(run) for run in before} | found
    write(record, [runs[name] for name in sorted(runs)])
    left_out = len(folders) - len(found)
    told = f"; {left_out} not finished and left out" if left_out else ""
    return f"{record}: {len(runs)} runs, {len(found)} of them from their folders{told}"


def _finished(folder: Path) -> RunHistory | None:
    try:
        run = of_folder(folder)
    except NotYetEvaluated:
        return None
    return run if run.finished else None


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
    """Write a record of finished runs."""
    write_rows(folder, [_row(run) for run in runs], _FIRST)
    lines = [{"run": run.folder.name, **line} for run in runs for line in _curve(run)]
    curves = pd.DataFrame(lines, columns=list(_CURVES)).astype(_CURVES)
    curves.to_parquet(folder / "curves.parquet", index=False, compression="zstd")


def _row(run: RunHistory) -> Row:
    git = {column: run.config[key] for key, column in _GIT.items() if run.config.get(key)}
    config = {key: value for key, value in run.config.items() if key not in ("recipe", "run", *_GIT)}
    start = {key: value for key, value in run.start.items() if key not in ("event", "step")}
    recipe = {key: value for key, value in run.recipe.items() if key != "out"}
    last = {key: run.evals[-1][key] for key in ("loss", "flops", "seconds")}
    return {"id": run.folder.name, **git, **last, **flat(recipe), **flat(config, "config."), **flat(start, "start.")}


def _curve(run: RunHistory) -> list[Row]:
    evals = [{**event, "tokens": run.cost_at(event["step"]).tokens} for event in run.evals]
    growths = [{**event, **vars(run.cost_at(event["step"]))} for event in run.growths]
    return [{key: event.get(key) for key in list(_CURVES)[1:]} for event in (*evals, *growths)]


def read(folder: Path) -> list[RunHistory]:
    """The runs of a record; of their steps only those at which they were evaluated or grew."""
    curves: dict[str, list[Event]] = {}
    for line in pd.read_parquet(folder / "curves.parquet").to_dict("records"):
        event = {str(key): None if pd.isna(value) else value for key, value in line.items()}
        curves.setdefault(event["run"], []).append(event)
    return [_history(row, curves[row["id"]]) for row in read_rows(folder)]


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
        finished=True,
    )


def _part(name: str, row: Row) -> dict[str, Any]:
    """What begins with `name.`."""
    return nested((key, value) for key, value in row.items() if key.startswith(f"{name}.")).get(name, {})
