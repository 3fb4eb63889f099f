"""Records of runs, the pages made from them, and that the pages say what the records do."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import page as pages
import pytest
import table
import yaml
from histories import recipe, rows, write_run
from hypothesis import given
from hypothesis import strategies as st
from page import by_recipe, write
from project import PROJECT
from questions import ALL, conclusion, results_hash
from records import of_folder, read, record

from apollo_ds.experiments.compare.tuning import best_rates
from apollo_ds.experiments.history import RunHistory

EVIDENCE = PROJECT / "benchmarks" / "evidence"


PROTOCOLS = {
    "tuned": ("tuned protocol", "wsd"),
    "one rate": ("one rate", "wsd"),
    "paper's": ("paper's rate", "cosine"),
}
"""Of each name in the table of savings, what the page's heading has, and the schedule."""


HEADLINE = rows((PROJECT / "docs" / "results" / "savings.md").read_text(), "cost of the run")


BEFORE_SPROUT = ("gpt2-long", "gpt2-bytes", "gpt2-wide", "bert-chars")
"""Runs of before it had a name, when it had one layer."""


GRID: dict[str, Any] = {
    "grid": {"method": ["scratch", "stackbert"], "learning_rate": [0.1, 0.2, 0.4], "seed": [1]},
    "further_seeds": [2, 3],
}


def run_of(folder: Path, method: str, rate: float, seed: int, end: float | None, **changes: Any) -> Path:
    name = f"{method},learning_rate={rate:g},seed={seed}"
    given = {"learning_rate": rate, "seed": seed, "global_batch_size": 8, **changes}
    return write_run(folder / name, [(1.0, 6.0), (2.0, end)], method, **given)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """One seed of scratch at three rates and of stackbert at two; seeds 2 and 3 of some."""
    folder = tmp_path / "runs"
    for method, rate, seed, end in (
        ("scratch", 0.1, 1, 5.0),
        ("scratch", 0.1, 2, 5.25),
        ("scratch", 0.1, 3, 5.5),
        ("scratch", 0.2, 1, 4.75),
        ("scratch", 0.4, 1, 5.75),
        ("stackbert", 0.1, 1, 4.5),
        ("stackbert", 0.2, 1, 5.5),
        ("stackbert", 0.2, 2, 5.5),
    ):
        run_of(folder, method, rate, seed, end)
    return folder


def question(runs: Path, *documents: dict[str, Any]) -> Path:
    """A question's folder with a grid of some documents, and the record of its runs."""
    folder = runs.parent / "question"
    folder.mkdir(exist_ok=True)
    (folder / "question.md").write_text("# Who wins?\n")
    first, *others = documents or (GRID,)
    (folder / "tiny.yaml").write_text(yaml.safe_dump_all([{**first, "out": str(runs)}, *others], sort_keys=False))
    record(folder / "tiny.yaml", anew=True)
    return folder


def test_a_record_has_all_that_a_page_is_made_from(runs: Path) -> None:
    """Of a run that grows, of one whose losses were no finite numbers, and of options that are nested and differ."""
    shutil.rmtree(runs)
    losses = [(1.0, 6.0), (2.0, None), (3.0, 5.1)]
    start = {"precision": "bf16", "unigram_entropy": 6.81762463}
    parts = {"name": "apollo+pld", "parts": [{"name": "apollo", "layers": [1, 3]}, {"name": "pld", "seed": "1e3"}]}
    git = {"git_commit": "0123e5", "git_diff": "00ff"}
    write_run(runs / "a,seed=7", losses, "stackbert", growth_at=12, start=start, config=git)
    write_run(runs / "b", losses[:1], parts, data="1e-3", deepspeed={"zero_optimization": {}}, adam_betas=[0.9, 1])
    path = question(runs) / "tiny.yaml"
    of_record, of_runs = read(path.with_suffix("")), [of_folder(folder) for folder in sorted(runs.iterdir())]
    assert [run.folder.name for run in of_record] == ["a,seed=7", "b"]
    for there, here in zip(of_record, of_runs, strict=True):
        assert json.dumps(there.config, sort_keys=True) == json.dumps(here.config, sort_keys=True)
        assert (there.curve, there.evals[0]["loss"], there.finished) == (here.curve, here.evals[0]["loss"], True)
        assert there.start == {key: value for key, value in here.start.items() if key not in ("event", "step")}
        assert len(there.growths) == len(here.growths)
        for at, growth in zip(there.growths, here.growths, strict=True):
            assert (
                at.items() >= {key: growth[key] for key in ("step", "from", "to", "loss_before", "loss_after")}.items()
            )
            assert at["gradient"] == growth["gradient"]
            assert there.cost_at(at["step"]) == here.cost_at(growth["step"])


def test_the_gradient_of_a_growth_is_the_mean_of_the_ten_steps_after_it(runs: Path) -> None:
    folder = write_run(runs / "grows", [(1.0, 6.0), (3.0, 5.0)], "stackbert", growth_at=5)
    assert [growth["gradient"] for growth in of_folder(folder).growths] == [10.5]  # of 6 to 15
    text = (folder / "metrics.jsonl").read_text().replace('"grad_norm": 7.0', '"grad_norm": null')
    (folder / "metrics.jsonl").write_text(text)
    assert [growth["gradient"] for growth in of_folder(folder).growths] == [None]


TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126))
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | st.lists(st.integers())


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), VALUES), min_size=1, max_size=3))
def test_rows_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, given: list[dict[str, Any]]) -> None:
    folder = tmp_path_factory.mktemp("rows")
    lines = [{"id": number, **row} for number, row in enumerate(given)]
    table.write_rows(folder, lines, ["id"])
    assert [repr(sorted(row.items())) for row in table.read_rows(folder)] == [
        repr(sorted(row.items())) for row in lines
    ]


def test_what_was_recorded_stays_until_its_run_comes_anew(runs: Path) -> None:
    path = question(runs) / "tiny.yaml"
    shutil.rmtree(runs)
    run_of(runs, "scratch", 0.1, 1, 4.0)
    unfinished = run_of(runs, "scratch", 0.1, 2, 4.0)
    text = (unfinished / "metrics.jsonl").read_text().replace('"event": "end"', '"event": "checkpoint"')
    (unfinished / "metrics.jsonl").write_text(text)
    write_run(runs / "begun", [], finished=False)
    told = record(path, anew=False)
    left_out = "1 without a held-out loss yet and left out"
    assert told == f"{path.with_suffix('')}: 8 runs, 1 of them from their folders; {left_out}"
    finals = {run.folder.name: run.final.loss for run in read(path.with_suffix(""))}
    assert (finals["scratch,learning_rate=0.1,seed=1"], finals["scratch,learning_rate=0.1,seed=2"]) == (4.0, 5.25)
    record(path, anew=True)
    assert [run.finished for run in read(path.with_suffix(""))] == [True, False]
    shutil.rmtree(runs)
    assert record(path, anew=True) == f"{path}: nothing to record; none of its runs has a held-out loss yet"
    assert len(read(path.with_suffix(""))) == 2


def test_a_recorded_run_gets_the_keys_that_recipes_have_got_since_then(runs: Path) -> None:
    path = question(runs) / "tiny.yaml"
    common = path.with_suffix("") / "common.yaml"
    written = common.read_text()
    assert "bad_steps: 10\n" in written
    common.write_text(written.replace("bad_steps: 10\n", ""))
    assert "bad_steps" not in read(path.with_suffix(""))[0].recipe  # what is read depends on no default
    shutil.rmtree(runs)
    run_of(runs, "scratch", 0.1, 1, 5.0)
    record(path, anew=False)
    assert [run.recipe["bad_steps"] for run in read(path.with_suffix(""))] == [10] * 8


def test_a_line_of_the_csv_is_a_run(runs: Path) -> None:
    lines = (question(runs) / "tiny" / "runs.csv").read_text().splitlines()
    assert lines[0].startswith("id,seed,commit,diff,loss,flops,seconds,learning_rate,method.name,")
    assert lines[1].startswith('"scratch,learning_rate=0.1,seed=1",1,,,5.0,2000000000000.0,2.0,0.1,scratch,')
    assert len(lines) == 9


def test_a_rate_with_more_seeds_is_preferred_to_one_lucky_run(runs: Path) -> None:
    best = {
        group.name: (group.runs[0].recipe["learning_rate"], len(group.shown))
        for group in best_rates(by_recipe([RunHistory.read(path) for path in sorted(runs.iterdir())]))
    }
    assert best == {"scratch": (0.1, 3), "stackbert": (0.2, 2)}


def test_a_recipe_at_the_paper_s_rate_alone_is_in_its_protocol_only(runs: Path) -> None:
    run_of(runs, "scratch", 1e-4, 1, 5.9)
    run_of(runs, "apollo", 1e-4, 1, 5.8)
    folder = question(runs, GRID, {"grid": {"method": ["scratch", "apollo"], "learning_rate": [0.0001], "seed": [1]}})
    write(folder)
    of_paper, tuned = (folder / "README.md").read_text().split("### The tuned protocol")
    assert [row["final held-out loss"] for row in rows(of_paper, "less scratch's")] == ["5.8000", "5.9000"]
    assert [row["reached by"] for row in rows(of_paper, "saving S")] == ["1 of 1", "sets it"]
    assert [row["recipe"] for row in rows(tuned, "less scratch's")] == ["scratch", "stackbert"]
    every = {row["recipe"]: row for row in rows(tuned, "0.4")}
    assert every["scratch"]["0.0001"] == "5.9000"


def test_a_page_pairs_runs_with_scratch_by_their_seeds(runs: Path) -> None:
    folder = question(runs)
    (folder / "conclusion.md").write_text(f"**Nobody.**\n\nOf results {results_hash(folder)}\n")
    write(folder)
    page = (folder / "README.md").read_text()
    assert "Of the 6 runs of `tiny` 1 are not here" in page
    assert page.startswith("# Who wins?\n\n**Nobody.**\n")
    tuned = {row["recipe"]: row for row in rows(page, "less scratch's")}
    # Seeds 1 and 2 of both: 5.5 - 5.0 and 5.5 - 5.25.
    assert tuned["stackbert"]["less scratch's"] == "+0.3750 ± 0.1768"
    assert tuned["scratch"]["less scratch's"] == "-"
    assert tuned["scratch"]["final held-out loss"] == "5.2500 ± 0.2500"
    every = {row["recipe"]: row for row in rows(page, "0.4")}
    assert every["scratch"]["0.4"] == "5.7500"
    assert every["stackbert"]["0.4"] == "-"
    assert {path.name for path in folder.rglob("*.png")} == {"ends.png", "curves.png"}


def test_runs_of_another_text_are_left_out_and_told(runs: Path) -> None:
    """The text that every machine has is another after an update of it."""
    other = run_of(runs, "scratch", 0.8, 1, 1.0)
    config = yaml.safe_load((other / "config.yaml").read_text())
    (other / "config.yaml").write_text(yaml.safe_dump({**config, "held_out": "another"}))
    folder = question(runs)
    write(folder)
    page = (folder / "README.md").read_text()
    assert f"**Left out, because their text or model was another: `{other.name}`.**" in page
    assert "1.0000" not in page


def test_a_longer_run_from_scratch_is_not_what_all_is_compared_with(runs: Path) -> None:
    for seed in (1, 2, 3):
        run_of(runs, "scratch", 0.3, seed, 1.0, steps=2 * recipe()["steps"])
    groups = by_recipe([RunHistory.read(path) for path in sorted(runs.iterdir())])
    baseline = pages._scratch(groups)
    assert baseline.flat["steps"] == min(group.flat["steps"] for group in groups)


def test_a_conclusion_of_other_results_is_told(runs: Path) -> None:
    folder = question(runs)
    written = "**Nobody.**\n\nBut nearly.\n\nAnd late."
    (folder / "conclusion.md").write_text(f"{written}\n\nOf results {results_hash(folder)}\n")
    assert "\n".join(conclusion(folder)) == written
    run_of(runs, "apollo", 0.1, 1, 5.0)
    record(folder / "tiny.yaml", anew=False)
    told = f"*This was written for other results than these, {results_hash(folder)}.*"
    assert "\n".join(conclusion(folder)) == written.replace("\n\n", f"\n\n{told}\n\n", 1)


@pytest.mark.parametrize("row", HEADLINE, ids=lambda row: row["recipe"])
def test_the_readme_s_table_is_the_page_s(row: dict[str, str]) -> None:
    """Its recipes are written as on the command line, its losses to three digits."""
    scale = row["run"].split("`")[1]
    page = (EVIDENCE / "recipe" / "README.md").read_text().split(f"\n## {scale}\n")[1].split("\n## ")[0]
    heading, schedule = PROTOCOLS[row["protocol"]]
    (page,) = [part for part in page.split("\n### ") if heading in part.split("\n")[0]]
    name = page_name(scale, row["recipe"].strip("`"), schedule)
    (found,) = [of for of in rows(page, "less scratch's") if of["recipe"] == name]
    assert row["seeds"] == found["seeds"]
    assert row["cost of the run"].rstrip("%") in (found["cost"].rstrip("%"), found["cost"].removesuffix(".0%"))
    assert row["final held-out loss"] == rounded(found["final held-out loss"])
    (reach,) = [of for of in rows(page, "saving S") if of["recipe"].removesuffix(" (baseline)") == name]
    if reach["reached by"] == "sets it":
        assert not row["saving"]
    else:
        assert row["saving"] == (reach["saving S"] if reach["saving S"] != "-" else reach["reached by"].split(" (")[0])


def test_the_readme_says_of_each_run_s_model_what_it_was() -> None:
    for row in HEADLINE:
        scale, _, told = row["run"].removeprefix("`").partition("` ")
        shape = read(EVIDENCE / "recipe" / scale)[0].recipe["model"]
        assert told.endswith(f"{shape['num_layers']} x {shape['hidden_size']}")


@pytest.mark.parametrize("name", ALL)
def test_the_conclusions_are_three_sentences_of_the_results_that_are_there(name: str) -> None:
    short = conclusion(EVIDENCE / name)[0]
    assert "was written for other results" not in short
    assert len(re.findall(r"[.!?](?=\**(?:\s|$))", short)) == 3


def page_name(scale: str, words: str, schedule: str) -> str:
    """A recipe as on the command line as its runs' folders are named, without rate and seed."""
    method, *keys = re.split(r" (?=[\w.]+=)", words)
    value = yaml.safe_load(method)
    options = {"name": value} if isinstance(value, str) else value
    name = options.pop("name")
    if name == "sprout" and scale in BEFORE_SPROUT:
        assert options.pop("first_layers") == 1
        name, options = "deep_jump", {"sampler": "none", "new_layers": "zero", **options}
    return ",".join([name, *(f"{key}={option}" for key, option in options.items()), f"lr_schedule={schedule}", *keys])


def rounded(losses: str) -> str:
    return re.sub(r"\d+\.\d{4}", lambda match: f"{float(match[0]):.3f}", losses)
