"""A run's report, made from its folder alone: tables with the right numbers, pictures with something in them."""

import json
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from histories import rows, write_run
from matplotlib.image import imread

from apollo_ds.errors import UserError
from apollo_ds.experiments.compare.page import write_markdown
from apollo_ds.experiments.report import write_report
from data_prep.figure_style import new_figure

PICTURES = (
    "loss_against_flops.png",
    "loss_against_tokens.png",
    "loss_against_time.png",
    "loss_around_growth.png",
    "depth_and_loss.png",
)


def test_a_model_that_grew_before_the_first_step_has_a_report(tmp_path: Path) -> None:
    """As one that is made from a source's."""
    run = write_run(tmp_path / "run", [(10, 4.5), (50, 3.25)], "net2net", growth_at=0)
    assert "3.2500" in write_report(run, tmp_path / "report").read_text()


def test_a_run_s_report_has_its_numbers_and_pictures(tmp_path: Path) -> None:
    run = write_run(tmp_path / "apollo", [(10, 4.5), (50, 3.25)], "apollo", growth_at=10)
    page = write_report(run, tmp_path / "new" / "report")
    assert page == tmp_path / "new" / "report" / "report.md"
    text = page.read_text()
    assert rows(text, "recipe") == [
        {
            "recipe": "apollo",
            "seeds": "7",
            "state": "finished",
            "steps": "20",
            "final held-out loss": "3.2500",
            "FLOPs": "5e+13",
            "tokens": "2,000",
            "seconds": "50",
        }
    ]
    assert [list(stage.values()) for stage in rows(text, "mean depth")] == [
        ["1", "1", "10", "2.00", "1e+13", "10", "4.0625", "20.0%", "20.0%"],
        ["2", "3", "10", "3.00", "4e+13", "40", "3.2500", "80.0%", "80.0%"],
    ]
    assert [list(growth.values()) for growth in rows(text, "loss before")] == [
        ["apollo", "1 -> 3", "10", "4.0625", "4.1250", "+0.0625", "3.2500", "0.5"]
    ]
    assert "saving S" not in text
    for name in PICTURES:
        assert f"({name})" in text
        assert_picture(page.parent / name)
        assert (page.parent / name).with_suffix(".pdf").is_file()


def assert_picture(path: Path) -> None:
    """Large enough, and with something darker than a grid's lines well inside the axes."""
    pixels = imread(path)[..., :3].mean(axis=2)
    height, width = pixels.shape
    assert height > 400
    assert width > 800
    inside = pixels[height // 10 : height * 7 // 10, width // 6 : width * 3 // 4]
    assert (inside < 0.6).sum() > 50, path.name
    assert np.ptp(inside) > 0.5


def test_a_report_can_be_made_while_the_run_goes_on(tmp_path: Path) -> None:
    run = write_run(tmp_path / "apollo", [(10, 4.5), (50, 3.25)], "apollo", finished=False)
    (row,) = rows(write_report(run, tmp_path / "report").read_text(), "recipe")
    assert (row["state"], row["final held-out loss"]) == ("unfinished (step 20 of 30)", "3.2500 so far")


def test_what_a_run_s_source_has_spent_is_said(tmp_path: Path) -> None:
    spent = {"source": "runs/small", "source_flops": 2e13, "source_tokens": 7, "source_seconds": 5.0}
    run = write_run(tmp_path / "run", [(10, 4.5)], start=spent)
    page = write_report(run, tmp_path / "report").read_text()
    assert f"{run} starts from runs/small, on which 2e+13 FLOPs and 5 seconds had been spent." in page


def test_a_run_that_diverged_can_be_reported(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [(10, 4.5), (20, 4.0), (50, None)])
    (row,) = rows(write_report(run, tmp_path / "report").read_text(), "recipe")
    assert row["final held-out loss"] == "not finite"


@contextmanager
def full_disk() -> Iterator[None]:
    """Where no file can be longer than a thousand bytes."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_page_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "report" / "report.md"
    figures = {"depth_and_loss.png": new_figure()[0]}
    write_markdown(page, "Before", [], figures)
    before = {path.name: path.read_bytes() for path in page.parent.iterdir()}
    with full_disk(), pytest.raises(UserError, match="cannot be written to: File too large; name another folder"):
        write_markdown(page, "After", [], figures)
    with full_disk(), pytest.raises(UserError, match="cannot be written to: File too large; name another folder"):
        write_markdown(page, "After", ["line"] * 1000, {})
    assert {path.name: path.read_bytes() for path in page.parent.iterdir()} == before


def test_a_run_without_a_finite_loss_has_a_report(tmp_path: Path) -> None:
    assert write_report(write_run(tmp_path / "run", [(10, None), (50, None)]), tmp_path / "report").is_file()


def test_a_report_begins_with_what_came_out_then_what_the_model_writes_then_figures(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [(10, 4.5), (50, 3.25)], "apollo", growth_at=10)
    with (run / "metrics.jsonl").open("a") as file:
        for step, text in ((10, "earlier"), (20, " a ``` king_of *Spain* " + "who was " * 30)):
            file.write(
                json.dumps({"event": "samples", "step": step, "samples": [{"prompt": "Once", "text": text}]}) + "\n"
            )
    title, _, outcome, _, *lines = write_report(run, tmp_path / "report").read_text().splitlines()
    assert title == "# run" and outcome.startswith("This run came to a held-out loss of 3.250 nats a token")
    assert lines[:6] == [
        "## What it writes",
        "",
        "Behind each arrow is what the model writes after step 20.",
        "",
        "````text",
        "Once",
    ]
    assert lines[6].startswith("\u2192 a ``` king_of *Spain* who was") and max(map(len, lines[6:10])) <= 90
    assert "earlier" not in "".join(lines)
    fence = lines.index("````")
    assert lines[fence + 2] == "![Held-out loss against training cost](loss_against_flops.png)"


def test_a_masked_model_s_sentence_is_shown_before_and_after(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [(10, 4.5)])
    with (run / "metrics.jsonl").open("a") as file:
        sample = {"prompt": "Paris is [MASK].", "text": "Paris is big."}
        file.write(json.dumps({"event": "samples", "step": 10, "samples": [sample]}) + "\n")
    assert "```text\nParis is [MASK].\n\u2192 Paris is big.\n```" in write_report(run, tmp_path / "report").read_text()
