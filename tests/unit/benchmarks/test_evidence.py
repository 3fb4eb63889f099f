"""The pages of evidence: which runs they are made from, and that they say what the runs that are kept say."""

import json
import re
import shutil
from pathlib import Path

import page as pages
import pytest
import yaml
from evidence import further_seeds, looks_for_rates, thinned
from histories import rows, write_run
from page import DOWNSTREAM, QUESTIONS, by_recipe, conclusion, results_hash, write
from project import PROJECT

from apollo_ds.experiments.compare.stages import stage_parts
from apollo_ds.experiments.compare.tuning import best_rates
from apollo_ds.experiments.history import RunHistory
from apollo_ds.experiments.sweep.grid import Cell

EVIDENCE = PROJECT / "benchmarks" / "evidence"


PROTOCOLS = {
    "tuned": ("tuned protocol", "wsd"),
    "one rate": ("one rate", "wsd"),
    "paper's": ("paper's rate", "cosine"),
}
"""Of each name in README's table, what the page's heading has, and the schedule."""


HEADLINE = rows((PROJECT / "README.md").read_text(), "cost of the run")


BEFORE_SPROUT = ("gpt2-long", "gpt2-bytes", "gpt2-wide", "bert-chars")
"""Runs of before it had a name, when it had one layer."""


def run_of(folder: Path, method: str, rate: float, seed: int, end: float | None) -> Path:
    name = f"{method},learning_rate={rate:g},seed={seed}"
    return write_run(
        folder / name, [(1.0, 6.0), (2.0, end)], method, learning_rate=rate, seed=seed, global_batch_size=8
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """One seed of scratch at three rates and of stackbert at two; seeds 2 and 3 of some."""
    folder = tmp_path / "question" / "tiny"
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


def read(folder: Path) -> list[RunHistory]:
    return [RunHistory.read(path) for path in sorted(folder.iterdir())]


def test_a_rate_with_more_seeds_is_preferred_to_one_lucky_run(runs: Path) -> None:
    best = {
        group.name: (group.runs[0].recipe["learning_rate"], len(group.shown))
        for group in best_rates(by_recipe(read(runs)))
    }
    assert best == {"scratch": (0.1, 3), "stackbert": (0.2, 2)}


def test_further_seeds_go_to_the_best_rate_and_for_scratch_to_the_best_two(runs: Path) -> None:
    for path in list(runs.iterdir()):
        if not path.name.endswith("seed=1"):
            shutil.rmtree(path)
    cells = [
        Cell(path.name, Path("runs") / path.name, ("steps=20", "seed=1", f"out=runs/{path.name}"))
        for path in sorted(runs.iterdir())
    ]
    further = further_seeds(cells, runs)
    assert {cell.name for cell in further} == {
        f"{name},seed={seed}"
        for name in ("scratch,learning_rate=0.1", "scratch,learning_rate=0.2", "stackbert,learning_rate=0.1")
        for seed in (2, 3)
    }
    for cell in further:
        seed = cell.name[-1]
        assert cell.words == ("steps=20", f"seed={seed}", f"out=runs/{cell.name}")
        assert cell.folder == Path("runs") / cell.name


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a,learning_rate=0.0001,seed=1", "a,learning_rate=0.002,seed=1"], True),
        (["a,learning_rate=0.0001,seed=1", "b,learning_rate=0.0001,seed=1"], False),
        (["a,learning_rate=0.002,seed=1", "a,learning_rate=0.002,seed=2"], False),
    ],
)
def test_rates_are_looked_for_with_one_seed(names: list[str], expected: bool) -> None:
    assert looks_for_rates(names) is expected


def test_a_recipe_at_the_paper_s_rate_alone_is_in_its_protocol_only(runs: Path) -> None:
    folder = runs.parent
    (folder / "question.md").write_text("# Who wins?\n")
    (folder / "tiny.yaml").write_text("grid: {method: [scratch, stackbert], learning_rate: [0.1, 0.2, 0.4], seed: [1]}")
    (folder / "tiny+paper.yaml").write_text("grid: {method: [scratch, apollo], learning_rate: [0.0001], seed: [1]}")
    run_of(folder / "tiny+paper", "scratch", 1e-4, 1, 5.9)
    run_of(folder / "tiny+paper", "apollo", 1e-4, 1, 5.8)
    write(folder)
    of_paper, tuned = (folder / "README.md").read_text().split("### The tuned protocol")
    assert [row["final held-out loss"] for row in rows(of_paper, "less scratch's")] == ["5.8000", "5.9000"]
    assert [row["reached by"] for row in rows(of_paper, "saving S")] == ["1 of 1", "sets it"]
    assert [row["recipe"] for row in rows(tuned, "less scratch's")] == ["scratch", "stackbert"]
    every = {row["recipe"]: row for row in rows(tuned, "0.4")}
    assert every["scratch"]["0.0001"] == "5.9000"


def test_a_page_pairs_runs_with_scratch_by_their_seeds(runs: Path) -> None:
    folder = runs.parent
    (folder / "question.md").write_text("# Who wins?\n")
    (folder / "conclusion.md").write_text(f"**Nobody.**\n\nOf results {results_hash(folder)}\n")
    (folder / "tiny.yaml").write_text("grid: {method: [scratch, stackbert], learning_rate: [0.1, 0.2, 0.4], seed: [1]}")
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
    assert {path.name for path in folder.glob("*.png")} == {"tiny-ends.png", "tiny-curves.png"}


def test_runs_of_another_text_are_left_out_and_told(runs: Path) -> None:
    """The text that every machine has is another after an update of it."""
    folder = runs.parent
    (folder / "question.md").write_text("# Who wins?\n")
    for name, rate in (("tiny", 0.1), ("tiny+more", 0.8)):
        (folder / f"{name}.yaml").write_text(f"grid: {{method: [scratch], learning_rate: [{rate}], seed: [1]}}")
    other = run_of(folder / "tiny+more", "scratch", 0.8, 1, 1.0)
    config = yaml.safe_load((other / "config.yaml").read_text())
    (other / "config.yaml").write_text(yaml.safe_dump({**config, "held_out": "another"}))
    write(folder)
    page = (folder / "README.md").read_text()
    assert "**Left out, because their text or model was another: `tiny+more`.**" in page
    assert "1.0000" not in page


def test_a_longer_run_from_scratch_is_not_what_all_is_compared_with(runs: Path) -> None:
    longer = [run_of(runs, "scratch", 0.3, seed, 1.0) for seed in (1, 2, 3)]
    for path in longer:
        config = yaml.safe_load((path / "config.yaml").read_text())
        config["recipe"]["steps"] *= 2
        (path / "config.yaml").write_text(yaml.safe_dump(config))
    groups = by_recipe(read(runs))
    baseline = pages._scratch(groups)
    assert baseline.flat["steps"] == min(group.flat["steps"] for group in groups)


def test_a_conclusion_of_other_results_is_told(runs: Path) -> None:
    written = "**Nobody.**\n\nBut nearly.\n\nAnd late."
    (runs.parent / "conclusion.md").write_text(f"{written}\n\nOf results {results_hash(runs.parent)}\n")
    assert "\n".join(conclusion(runs.parent)) == written
    run_of(runs, "apollo", 0.1, 1, 5.0)
    told = f"*This was written for other results than these, {results_hash(runs.parent)}.*"
    assert "\n".join(conclusion(runs.parent)) == written.replace("\n\n", f"\n\n{told}\n\n", 1)


def test_what_is_kept_of_a_run_is_what_its_page_needs(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [(1.0, 6.0), (2.0, 5.5), (3.0, 5.0)], "stackbert", growth_at=12)
    kept = [json.loads(line) for line in thinned(folder / "metrics.jsonl")]
    assert [e["event"] for e in kept if e["event"] != "step"] == ["start", "eval", "growth", "eval", "eval", "end"]
    # Every tenth, that of the growth, and the ten whose gradients the page has.
    assert [e["step"] for e in kept if e["event"] == "step"] == [10, *range(12, 23), 30]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in kept))
    (group,) = by_recipe([RunHistory.read(folder)])
    assert [(part.layers, part.steps) for part in stage_parts(group)] == [(1, 12), (3, 18)]


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
        runs = sorted((EVIDENCE / "recipe" / scale).glob("*/config.yaml"))
        shape = yaml.safe_load(runs[0].read_text())["recipe"]["model"]
        assert told.endswith(f"{shape['num_layers']} x {shape['hidden_size']}")


@pytest.mark.parametrize("question", [*QUESTIONS, DOWNSTREAM])
def test_the_conclusions_are_three_sentences_of_the_results_that_are_there(question: str) -> None:
    short = conclusion(EVIDENCE / question)[0]
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
