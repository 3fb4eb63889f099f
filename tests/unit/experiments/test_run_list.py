"""Runs are found wherever they are, each with its state, and none hides the others."""

import json
import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from histories import write_run
from rich.console import Console

from apollo_ds.__main__ import main
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import EXIT_USER_ERROR
from apollo_ds.experiments import events
from apollo_ds.experiments.run_list import RunSummary, find_runs, table_of

CURVE = [(1.0, 5.0), (2.0, 4.5), (3.0, 4.25)]


def cut(run: Path, change: Callable[[list[str]], list[str]], last: str = "") -> None:
    """Change the lines of a run's record; `last` is behind the last line end."""
    path = run / "metrics.jsonl"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n" + last)


def event(kind: str, **values: Any) -> str:
    return json.dumps({"event": kind, **values})


def test_a_finished_run(tmp_path: Path) -> None:
    run = RunSummary.read(write_run(tmp_path / "a", CURVE))
    assert (run.state, run.step, run.steps, run.loss) == ("finished", 30, 30, 4.25)
    assert (run.flops, run.seconds) == (3e12, 3.0)


def test_the_last_save_is_part_of_the_time(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", CURVE)
    cut(run, lambda lines: [*lines[:-1], event("end", step=30, flops=3e12, seconds=3.5)])
    assert RunSummary.read(run).seconds == 3.5


def test_a_run_that_ended_with_a_checkpoint_has_stopped_and_another_is_unfinished(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", CURVE[:2], finished=False)
    assert RunSummary.read(run).state == "unfinished"
    cut(run, lambda lines: [*lines, event("checkpoint", step=20)])
    assert RunSummary.read(run).state == "stopped"
    cut(run, lambda lines: [*lines, lines[-3].replace('"step": 20', '"step": 21')])
    told = RunSummary.read(run)
    assert (told.state, told.step, told.loss) == ("unfinished", 21, 4.5)


def test_a_run_with_a_lock_is_running(tmp_path: Path) -> None:
    folder = RunFolder(write_run(tmp_path / "a", CURVE))
    folder.claim()
    assert RunSummary.read(folder.path).state == "running"
    folder.release()
    assert RunSummary.read(folder.path).state == "finished"


def test_an_end_before_further_steps_is_not_the_run_s(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", CURVE, steps=60)
    step = json.loads((run / "metrics.jsonl").read_text().splitlines()[-3])
    assert step["event"] == "step"
    cut(run, lambda lines: [*lines, json.dumps({**step, "step": 31})])
    assert RunSummary.read(run).state == "unfinished"


def test_a_run_that_has_not_taken_a_step(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", CURVE)
    (run / "checkpoints").mkdir(exist_ok=True)
    (run / "metrics.jsonl").unlink()
    (told,) = find_runs(tmp_path)
    assert (told.state, told.step, told.loss) == ("unfinished", 0, None)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("config.yaml", None, "config.yaml: missing, damaged"),
        ("config.yaml", "recipe: [", "config.yaml: missing, damaged"),
        ("metrics.jsonl", "no event\n", "metrics.jsonl: is damaged; restore the file"),
        ("metrics.jsonl", '{"event": "step", "step"\n', "metrics.jsonl: is damaged; restore the file"),
        ("metrics.jsonl", '{"event": "step"}\n', "metrics.jsonl: is damaged; restore the file"),
        ("metrics.jsonl", '{"event": "eval", "step": 1, "flops": "a", "seconds": 1}\n', "metrics.jsonl: is damaged"),
    ],
)
def test_a_damaged_run_is_a_row_among_the_others(
    name: str, content: str | None, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "good", CURVE)
    path = write_run(tmp_path / "bad", CURVE) / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    by_name = {run.folder.name: run for run in find_runs(tmp_path)}
    assert (by_name["good"].state, by_name["bad"].state) == ("finished", "damaged")
    assert told in by_name["bad"].damage
    main(["runs", str(tmp_path)])
    assert told in capsys.readouterr().out


def test_runs_are_found_below_other_folders_and_once(tmp_path: Path) -> None:
    write_run(tmp_path / "runs/a", CURVE)
    inner = write_run(tmp_path / "runs/sweep/lr=1,seed=2", CURVE)
    (inner / "ended-20").mkdir()
    (inner / "ended-20/metrics.jsonl").write_text("")
    write_run(tmp_path / "disk/far", CURVE)
    (tmp_path / "runs/far").symlink_to(tmp_path / "disk/far")
    (tmp_path / "runs/again").symlink_to(tmp_path / "disk/far")
    (tmp_path / "runs/loop").symlink_to(tmp_path / "runs")
    (tmp_path / "runs/notes").mkdir()
    (tmp_path / "runs/notes/config.yaml").write_text("a: 1")
    found = [str(run.folder.relative_to(tmp_path / "runs")) for run in find_runs(tmp_path / "runs")]
    assert sorted(found)[0] == "a"
    assert len(found) == 3 and "sweep/lr=1,seed=2" in found
    assert [run.folder for run in find_runs(tmp_path / "runs/a")] == [tmp_path / "runs/a"]


def test_the_latest_is_first(tmp_path: Path) -> None:
    for age, name in enumerate("cab"):
        run = write_run(tmp_path / name, CURVE)
        for path in run.glob("*.*"):
            os.utime(path, (1e9 - age, 1e9 - age))
    assert [run.folder.name for run in find_runs(tmp_path)] == ["c", "a", "b"]


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 16])
def test_lines_are_read_from_the_end_in_blocks_of_any_size(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "a", CURVE)
    monkeypatch.setattr(events, "_BLOCK_BYTES", block)
    backwards = list(events.events_from_the_end(run / "metrics.jsonl", {"step", "eval", "end"}))
    forwards = [e for e in events.read_metrics(run / "metrics.jsonl") if e["event"] in ("step", "eval", "end")]
    assert backwards == forwards[::-1]
    cut(run, list, last='{"event": "step", "step": 31, "fl')
    assert RunSummary.read(run).state == "finished", "a line that a crash cut short is left out"


def test_only_the_end_of_a_long_record_is_read(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", CURVE)
    cut(run, lambda lines: ["damage" * 100_000, *lines[:-1], event("checkpoint", step=30), lines[-1]])
    assert RunSummary.read(run).state == "finished"


def test_the_table_fits_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    write_run(tmp_path / "sweep/method=early_doubling,learning_rate=0.001,seed=1", CURVE, steps=1_000_000)
    write_run(tmp_path / "no-number", [(1.0, None)], finished=False)
    main(["runs", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    told = "\n".join(lines)
    for expected in ("30/1,000,000", "4.2500", "3 TFLOP", "3.0 s", "not finite", "finished", "unfinished"):
        assert expected in told


def test_json_is_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "a", [(1.0, None)], finished=False)
    main(["runs", str(tmp_path), "--json"])
    (told,) = json.loads(capsys.readouterr().out)
    assert told["folder"] == str(tmp_path / "a")
    assert (told["state"], told["loss"], told["step"], told["steps"]) == ("unfinished", None, 10, 30)
    assert told["written"].endswith("+00:00")


def test_a_folder_without_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["runs", str(tmp_path)])
    assert capsys.readouterr().out == f"{tmp_path} holds no runs; `apollo-ds train out={tmp_path}/NAME` makes one\n"
    main(["runs", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out) == []
    with pytest.raises(SystemExit) as ended:
        main(["runs", str(tmp_path / "none")])
    assert ended.value.code == EXIT_USER_ERROR
    assert "there is no such folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("age", "told"),
    [
        (0, "now"),
        (1.9, "now"),
        (5, "5 s ago"),
        (119, "119 s ago"),
        (121, "2 min ago"),
        (7300, "2 h ago"),
        (2e5, "2 days ago"),
    ],
)
def test_ages_are_told_in_whole_numbers(age: float, told: str, tmp_path: Path) -> None:
    (run,) = find_runs(write_run(tmp_path / "a", CURVE))
    console = Console(width=80, record=True, file=StringIO())
    console.print(table_of([run], tmp_path, run.written + age))
    assert f" {told} \n" in console.export_text()
