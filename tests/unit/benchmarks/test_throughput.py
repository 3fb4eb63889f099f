"""The figures of speed: the page and README say what was measured."""

import json
from pathlib import Path
from typing import Any

import pytest
from histories import rows
from project import PROJECT
from speed.page import write

RESULTS = PROJECT / "benchmarks" / "results"
SETTINGS = {"BERT": "bert-cpu", "GPT-2": "gpt2-cpu"}
LOOPS = {
    "apollo_ds": "apollo_ds",
    "`transformers.Trainer`, stock model": "transformers.Trainer",
    "the same without dropout": "transformers.Trainer, no dropout",
    "a plain loop by hand": "by hand",
}


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return json.loads((RESULTS / "throughput.json").read_text())


def test_the_page_is_what_its_results_make(results: dict[str, Any], tmp_path: Path) -> None:
    write(results, tmp_path)
    assert (tmp_path / "throughput.md").read_text() == (RESULTS / "throughput.md").read_text()


def test_the_readme_s_table_is_what_was_measured(results: dict[str, Any]) -> None:
    table = rows((PROJECT / "README.md").read_text(), "model, layers")
    assert len(table) == sum(len(results[setting]["against"]) for setting in SETTINGS.values())
    for row in table:
        model, layers = row["model, layers"].split(", ")
        measured = results[SETTINGS[model]]["against"][layers]
        for column, name in LOOPS.items():
            assert row[column] == f"{measured[name]['tokens_per_second']:,.0f}"


def test_the_readme_says_what_a_drawn_depth_costs(results: dict[str, Any]) -> None:
    depth = results["bert-cpu"]["depth"]
    words = " ".join((PROJECT / "README.md").read_text().split())
    told = {"step": "of its time", "a": "of what a step takes beside its layers", "b": "of what each layer takes"}
    for key, what in told.items():
        ratio, low, high = depth["drawn_over_fixed"][key]
        interval = f"{low:.3f} to {high:.3f}"
        assert f"{ratio:.3f} ({interval}) {what}" in words or f"{ratio:.3f} {what} (95% interval {interval})" in words
    farthest = max(depth["lines"][way]["greatest_distance"] for way in ("drawn", "fixed"))
    assert f"both lie within {farthest:.1%} of a straight line" in words


def test_the_table_of_shallow_steps_in_docs_is_what_was_measured(results: dict[str, Any]) -> None:
    measured = results["bert-cpu"]["shallow"]
    table = rows((PROJECT / "docs" / "results" / "speed.md").read_text(), "1 layer")
    assert [row["1 layer"] for row in table] == [f"{time:,.0f}" for time in measured["1 layer"].values()]
    assert [row["12 layers"] for row in table] == [f"{time:,.0f}" for time in measured["12 layers"].values()]
    one = measured["1 layer"]
    words = " ".join((PROJECT / "docs" / "results" / "speed.md").read_text().split())
    assert f"saves the shallow step {1 - one['ZeRO 1'] / one['ZeRO 1, 4 micro-batches']:.0%} of its time" in words
    assert f"takes from 3 to 1 takes {1 - one['ZeRO 1'] / one['ZeRO 3']:.0%} less" in words
