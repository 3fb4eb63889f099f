"""The figures of speed: the pages say what was measured."""

import json
from pathlib import Path
from typing import Any

import pytest
from histories import rows
from project import PROJECT
from speed.page import write

RESULTS = PROJECT / "benchmarks" / "results"
PAGE = (PROJECT / "docs" / "results" / "speed.md").read_text()
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


def test_the_table_of_rivals_is_what_was_measured(results: dict[str, Any]) -> None:
    table = rows(PAGE, "model, layers")
    assert len(table) == sum(len(results[setting]["against"]) for setting in SETTINGS.values())
    for row in table:
        model, layers = row["model, layers"].split(", ")
        measured = results[SETTINGS[model]]["against"][layers]
        for column, name in LOOPS.items():
            assert row[column] == f"{measured[name]['tokens_per_second']:,.0f}"


def test_the_table_of_drawn_depths_is_what_was_measured(results: dict[str, Any]) -> None:
    measured = {name: results[setting]["depth"]["drawn_over_fixed"] for name, setting in SETTINGS.items()}
    for key, row in zip(("step", "a", "b"), rows(PAGE, "95% interval"), strict=True):
        ratio, low, high = measured["BERT"][key]
        assert (row["BERT, 110 rounds"], row["95% interval"]) == (f"{ratio:.3f}", f"{low:.3f} to {high:.3f}")
        assert row["GPT-2, 30 rounds"] == f"{measured['GPT-2'][key][0]:.3f}"
    lines = results["bert-cpu"]["depth"]["lines"]
    farthest = max(lines[way]["greatest_distance"] for way in ("drawn", "fixed"))
    assert f"a straight line in their number, within {farthest:.1%} for BERT" in " ".join(PAGE.split())


def test_the_table_of_shallow_steps_in_docs_is_what_was_measured(results: dict[str, Any]) -> None:
    measured = results["bert-cpu"]["shallow"]
    table = rows(PAGE, "1 layer")
    assert [row["1 layer"] for row in table] == [f"{time:,.0f}" for time in measured["1 layer"].values()]
    assert [row["12 layers"] for row in table] == [f"{time:,.0f}" for time in measured["12 layers"].values()]
    one = measured["1 layer"]
    words = " ".join(PAGE.split())
    assert f"the shallow step saves {1 - one['ZeRO 1'] / one['ZeRO 1, 4 micro-batches']:.0%} of its time" in words
    assert f"takes from 3 to 1 takes {1 - one['ZeRO 1'] / one['ZeRO 3']:.0%} less" in words
