"""Runs under way: their record says so, and no page takes what they have come to for a final loss."""

from pathlib import Path
from types import ModuleType
from typing import Any

import downstream
import page
import pytest
import saving
import yaml
from histories import write_run
from records import read, record, split

FIXED, GROWN, CUT = "scratch,seed=1", "sprout,seed=1", "scratch,seed=2"
OPTIONS: dict[str, Any] = {
    "learning_rate": 0.1,
    "global_batch_size": 8,
    "optimizer": {"name": "muon"},
    "lr_schedule": "wsd",
    "decay_fraction": 0.2,
}
LOW = "1.1111"
"""The loss of the run that was cut, below all others, so that a page that counts it shows it."""


def run_of(folder: Path, name: str, end: float, finished: bool) -> None:
    method, seed = name.split(",seed=")
    write_run(folder / name, [(1.0, 6.0), (2.0, 5.5), (3.0, end)], method, finished=finished, seed=int(seed), **OPTIONS)


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """A question's only grid, of two finished runs and one under way."""
    runs = tmp_path / "runs"
    for name, end, finished in ((FIXED, 5.0, True), (GROWN, 4.9, True), (CUT, 1.1111, False)):
        run_of(runs, name, end, finished)
    path = tmp_path / "question" / "gpt2-muon.yaml"
    path.parent.mkdir()
    (path.parent / "question.md").write_text("# Who wins?\n")
    path.write_text(yaml.safe_dump({"grid": {"method": ["scratch", "sprout"], "seed": [1, 2]}, "out": str(runs)}))
    return path


def finish(grid: Path, name: str, end: float) -> None:
    folder = grid.parent.parent / "runs"
    for old in (folder / name).iterdir():
        old.unlink()
    (folder / name).rmdir()
    run_of(folder, name, end, finished=True)


def test_a_run_under_way_is_marked_until_it_has_ended(grid: Path) -> None:
    told = record(grid, anew=False)
    assert told == f"{grid.with_suffix('')}: 3 runs, 3 of them from their folders; 1 under way"
    table = grid.with_suffix("") / "runs.csv"
    heading, *lines = table.read_text().splitlines()
    column = heading.split(",").index("finished") + 1  # the id has a comma of its own
    assert [line.split(",")[column] for line in lines] == ["", "false", ""]
    finished, under_way = split(read(grid.with_suffix("")))
    assert [run.folder.name for run in finished] == [FIXED, GROWN]
    assert [(run.folder.name, run.final.loss) for run in under_way] == [(CUT, 1.1111)]
    assert under_way[0].state == "unfinished (step 30 of 30)"
    assert "finished" not in under_way[0].recipe
    finish(grid, CUT, 4.5)
    assert record(grid, anew=False) == f"{grid.with_suffix('')}: 3 runs, 3 of them from their folders"
    assert "finished" not in table.read_text()
    assert {run.folder.name: run.final.loss for run in read(grid.with_suffix(""))}[CUT] == 4.5


def test_a_run_that_begins_again_does_not_replace_a_finished_one(grid: Path) -> None:
    finish(grid, CUT, 4.5)
    record(grid, anew=False)
    finish(grid, CUT, 1.1111)
    metrics = grid.parent.parent / "runs" / CUT / "metrics.jsonl"
    metrics.write_text("".join(line for line in metrics.read_text().splitlines(True) if '"end"' not in line))
    assert record(grid, anew=False) == f"{grid.with_suffix('')}: 3 runs, 2 of them from their folders"
    assert {run.folder.name: run.final.loss for run in read(grid.with_suffix(""))}[CUT] == 4.5


@pytest.mark.parametrize("of", [page, saving])
def test_no_page_counts_a_run_under_way(of: ModuleType, grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of, "save_picture", lambda *arguments: None)
    record(grid, anew=False)
    of.write(grid.parent)
    written = (grid.parent / "README.md").read_text()
    assert "**1 of the runs of `gpt2-muon` is under way. No table here counts them.**" in written
    assert "**Of the 4 runs of `gpt2-muon` 1 are not here: they failed or were not made.**" in written
    assert "2 runs" in written
    assert "5.0000" in written
    assert "4.9000" in written
    assert LOW not in written
    finish(grid, CUT, 1.1111)
    record(grid, anew=False)
    of.write(grid.parent)
    assert "under way" not in (grid.parent / "README.md").read_text()


@pytest.mark.parametrize("of", [page, saving])
def test_a_grid_with_nothing_but_runs_under_way_has_no_results(of: ModuleType, grid: Path) -> None:
    for name in (FIXED, GROWN):
        for path in (grid.parent.parent / "runs" / name).iterdir():
            path.unlink()
    record(grid, anew=False)
    assert (grid.with_suffix("") / "runs.csv").read_text().startswith("id,seed,commit,diff,loss,flops,seconds,finished")
    of.write(grid.parent)
    written = (grid.parent / "README.md").read_text()
    assert "1 of the runs of `gpt2-muon` is under way" in written
    assert LOW not in written
    assert "|" not in written


def test_a_model_whose_pretraining_is_under_way_is_left_out_downstream(
    grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(grid, anew=False)
    folder = grid.parent / "downstream"
    folder.mkdir()
    (folder / "question.md").write_text("# And later?\n")
    models = [f"question/gpt2-muon/{name}" for name in (FIXED, CUT)]
    plan = {"models": models, "learning_rates": [0.1], "seeds": 1, "epochs": 1, "max_length": 8}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(plan))
    monkeypatch.setattr(downstream, "HERE", grid.parent.parent)
    monkeypatch.setattr(downstream, "_is_done", lambda *arguments: True)
    downstream.write(folder)
    written = (folder / "README.md").read_text()
    assert "**Left out: pretraining of 1 of the 2 models of `tiny` was under way when it was recorded.**" in written
