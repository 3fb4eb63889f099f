"""Reports, made from metrics files alone: tables with the right numbers, pictures with something in them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.image import imread

from apollo_ds.report import RunHistory, write_report

PICTURES = ("loss_against_flops.png", "loss_against_time.png", "depth_and_loss.png")


def run_folder(path: Path, method: str, held_out: list[tuple[float, float]], growth_at: int | None = None) -> Path:
    """A run of ten steps for each pair of (1e12 FLOPs so far, held-out loss), in a second for each 1e12 FLOPs.

    Before `growth_at` one layer runs at depths 1 and 3 by turns; from then on three layers do.
    """
    path.mkdir(parents=True)
    lines: list[dict[str, Any]] = []
    spent = 0.0
    for part, (cost, loss) in enumerate(held_out):
        for i in range(10):
            done = part * 10 + i
            grown = growth_at is None or done >= growth_at
            if done == growth_at:
                growth = {"step": done, "from": 1, "to": 3, "loss_before": 4.0625, "loss_after": 4.125}
                lines.append({"event": "growth", **growth})
            flops = (spent + (cost - spent) * (i + 1) / 10) * 1e12
            depth = 3 if grown else (1, 3)[i % 2]
            step = {"step": done + 1, "stage": int(grown and growth_at is not None), "unique_layers": 3 if grown else 1}
            lines.append({"event": "step", **step, "depth": depth, "flops": flops, "seconds": flops / 1e12, "loss": 5})
        lines.append({"event": "eval", "step": part * 10 + 10, "flops": cost * 1e12, "seconds": cost, "loss": loss})
        spent = cost
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path / "config.yaml").write_text(yaml.safe_dump({"recipe": {"method": {"name": method}, "seed": 7}}))
    return path


# What each run's held-out loss came to, and then: FLOPs to reach the baseline's final loss of 2, saving, speed-up.
RUNS: dict[str, tuple[list[tuple[float, float]], float, float, float]] = {
    "between": ([(20, 3.0), (40, 2.5), (60, 1.5)], 50, 0.5, 1.0),  # in a straight line between two evaluations
    "exactly": ([(20, 3.0), (80, 2.0), (120, 1.0)], 80, 0.2, 0.25),
    "at-once": ([(25, 1.0)], 25, 0.75, 3.0),
    "slower": ([(60, 3.0), (125, 2.0)], 125, -0.25, -0.2),
    "with-a-rise": ([(30, 2.25), (40, 3.0), (60, 1.0)], 50, 0.5, 1.0),
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on a baseline, on the runs above, and on one that never reaches its loss."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [run_folder(folder / "scratch", "scratch", [(40, 4.0), (80, 2.5), (100, 2.0)])]
    runs += [run_folder(folder / name, "apollo", held_out) for name, (held_out, *_) in RUNS.items()]
    runs += [run_folder(folder / "never", "apollo", [(40, 3.0), (80, 2.125), (90, 2.5)])]
    return write_report(runs, folder / "report")


def rows(page: Path, column: str) -> list[dict[str, str]]:
    """The rows of the first table that has such a column."""
    found: list[list[str]] = []
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]
        if found and not line.startswith("|"):
            break
        if found or column in cells:
            found.append(cells)
    heading, _, *body = found
    return [dict(zip(heading, cells, strict=True)) for cells in body]


def assert_pictures(folder: Path) -> None:
    """All are there, and each shows something coloured left of where a colour bar would be."""
    for name in PICTURES:
        pixels = imread(folder / name)[..., :3]
        height, width, _ = pixels.shape
        assert height > 400
        assert width > 800
        coloured = np.ptp(pixels[:, : width * 4 // 5], axis=2) > 0.25
        assert coloured.sum() > 100, name


def test_a_run_s_report_has_its_numbers_and_pictures(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "apollo", "apollo", [(10, 4.5), (50, 3.25)], growth_at=10)
    page = write_report([run], tmp_path / "new" / "report")
    assert page == tmp_path / "new" / "report" / "report.md"
    assert rows(page, "method") == [
        {
            "run": "apollo",
            "method": "apollo",
            "seed": "7",
            "steps": "20",
            "final held-out loss": "3.2500",
            "FLOPs": "5e+13",
            "seconds": "50",
        }
    ]
    assert [list(stage.values()) for stage in rows(page, "mean depth")] == [
        ["1", "1", "10", "2.00", "1e+13", "10", "", ""],
        ["2", "3", "10", "3.00", "4e+13", "40", "4.0625", "4.1250"],
    ]
    for name in PICTURES:
        assert f"({name})" in page.read_text()
    assert_pictures(page.parent)
    assert "saving" not in page.read_text()


@pytest.mark.parametrize("name", RUNS)
def test_savings_are_measured_at_the_baseline_s_final_loss(name: str, page: Path) -> None:
    _, cost, saving, speed_up = RUNS[name]
    (row,) = [row for row in rows(page, "FLOPs to reach it") if row["run"] == name]
    assert float(row["FLOPs to reach it"]) == pytest.approx(cost * 1e12, rel=1e-3)
    assert float(row["seconds to reach it"]) == cost
    shown_saving, shown_speed_up = (float(row[key].removesuffix("%")) / 100 for key in ("saving S", "speed-up U"))
    assert (shown_saving, shown_speed_up) == pytest.approx((saving, speed_up), abs=5e-4)
    assert shown_saving == pytest.approx(shown_speed_up / (1 + shown_speed_up), abs=1e-3)


def test_a_run_that_never_reaches_the_loss_is_said_to(page: Path) -> None:
    (row,) = [row for row in rows(page, "FLOPs to reach it") if row["run"] == "never"]
    assert row["FLOPs to reach it"] == "not reached (best 2.1250)"
    assert row["saving S"] == row["speed-up U"] == row["seconds to reach it"] == ""


def test_what_a_given_source_has_spent_is_counted_beside_the_run_alone(tmp_path: Path) -> None:
    scratch = run_folder(tmp_path / "scratch", "scratch", [(40, 3.0), (100, 2.0)])
    grown = run_folder(tmp_path / "grown", "bert2bert", [(60, 2.0)])
    source = {"source": "runs/small/checkpoints/step-9", "source_tokens": 7, "source_flops": 2e13, "source_seconds": 5}
    metrics = grown / "metrics.jsonl"
    metrics.write_text(json.dumps({"event": "start", "step": 0, **source}) + "\n" + metrics.read_text())
    page = write_report([scratch, grown], tmp_path / "report")
    alone, counted = rows(page, "FLOPs to reach it")
    assert list(alone.values()) == ["grown", "6e+13", "40.0%", "66.7%", "60"]
    assert list(counted.values()) == ["grown, counting its source", "8e+13", "20.0%", "25.0%", "65"]
    assert "grown starts from runs/small/checkpoints/step-9, on which 2e+13 FLOPs and 5 seconds" in page.read_text()


def test_all_runs_are_listed_and_the_first_is_the_baseline(page: Path) -> None:
    assert [row["run"] for row in rows(page, "method")] == ["scratch", *RUNS, "never"]
    assert "To the final held-out loss of scratch, 2.0000" in page.read_text()
    assert "scratch" not in [row["run"] for row in rows(page, "FLOPs to reach it")]
    assert_pictures(page.parent)


def test_the_first_evaluation_may_be_enough(tmp_path: Path) -> None:
    history = RunHistory.read(run_folder(tmp_path / "run", "scratch", [(40, 4.0), (80, 2.5), (100, 2.0)]))
    assert history.cost_to_reach(4.5, "flops") == 40e12
    assert history.cost_to_reach(1.9, "flops") is None


def test_runs_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    folders = [run_folder(tmp_path / method / "seed1", method, [(40, 3.0)]) for method in ("scratch", "apollo")]
    names = [row["run"] for row in rows(write_report(folders, tmp_path / "report"), "method")]
    assert len(set(names)) == 2


def test_a_report_can_be_made_while_the_run_goes_on(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "apollo", "apollo", [(10, 4.5), (50, 3.25)])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "eval", "step": 30, "fl')
    assert rows(write_report([run], tmp_path / "report"), "method")[0]["steps"] == "20"
