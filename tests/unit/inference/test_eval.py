"""Evaluation by lm-evaluation-harness, on a task and text of our own; without the harness one sentence."""

import json
from importlib.util import find_spec
from pathlib import Path
from pydoc_data.topics import topics

import pytest
from asking import Capture, output, refusal
from tiny_models import exported

from apollo_ds import extras
from apollo_ds.__main__ import main
from apollo_ds.inference import evaluation
from apollo_ds.inference.evaluation import Score
from apollo_ds.inference.scores_table import print_scores
from data_prep.output import Output

needs_harness = pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm-eval is not installed")
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: {kind}
doc_to_text: "{{{{text}}}}"
doc_to_target: "{{{{{target}}}}}"
doc_to_choice: "{{{{choices}}}}"
metric_list: [{{metric: {metric}}}]
"""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Two tasks on the help pages that come with Python: which word comes next, and bits a byte."""
    words = [page.split() for page in topics.values()]
    rows = [
        {"text": " ".join(page[:9]), "rest": " ".join(page[9:40]), "choices": [f" {page[9]}", " zebra"], "answer": 0}
        for page in words
        if len(page) > 40
    ]
    file = tmp_path / "pages.jsonl"
    file.write_text("\n".join(map(json.dumps, rows[:20])))
    for name, kind, target, metric in (
        ("next_word", "multiple_choice", "answer", "acc"),
        ("pages", "loglikelihood_rolling", "rest", "bits_per_byte"),
    ):
        (tmp_path / f"{name}.yaml").write_text(
            TASK.format(name=name, file=file, kind=kind, target=target, metric=metric)
        )
    return tmp_path


@needs_harness
def test_tasks_of_one_s_own_are_measured_and_written(tasks: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "results" / "both.json"
    words = ("--tasks", "next_word,pages", "--include-path", str(tasks), "--limit", "8", "--out", str(out), "--json")
    told = json.loads(output(capsys, "eval", str(exported("gpt2")), *words))
    scores = {score["task"]: score for score in told}
    assert (scores["next_word"]["metric"], scores["pages"]["metric"]) == ("acc", "bits_per_byte")
    assert 0 <= scores["next_word"]["value"] <= 1
    assert scores["next_word"]["stderr"] is not None
    assert scores["pages"]["value"] > 0
    assert {score["examples"] for score in told} == {8}
    written = json.loads(out.read_text())
    assert written["scores"] == told
    assert (written["tasks"], written["limit"]) == (["next_word", "pages"], 8)


@needs_harness
@pytest.mark.parametrize(
    ("task", "said"),
    [("next_wrod", "describes none; did you mean next_word?"), ("arc_easy", "--tasks arc_easy: cannot be run (")],
)
def test_a_task_that_is_not_there_is_one_sentence(task: str, said: str, tasks: Path, capsys: Capture) -> None:
    assert said in refusal(capsys, "eval", str(exported("gpt2")), "--tasks", task, "--include-path", str(tasks))


def test_without_the_harness_a_sentence_says_how_to_get_it(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    said = refusal(capsys, "eval", str(exported("gpt2")), "--tasks", "arc_easy")
    assert said.endswith("are not installed; run `pip install 'apollo_ds[eval]'`")


def test_a_masked_model_is_refused(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "check_extra", lambda name: None)
    assert "fills in masks, and does not continue text" in refusal(
        capsys, "eval", str(exported("bert")), "--tasks", "a"
    )


def test_scores_are_a_table_with_their_errors() -> None:
    console = Output(width=80)
    scores = [Score("arc", "acc", 0.25, 0.0125, True, 1000), Score("all", "perplexity", 12.0, None, False, None)]
    with console.capture() as shown:
        print_scores(scores, console)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.get().splitlines() if "│" in line]
    assert rows == [
        ["arc", "acc", "0.2500", "0.0125", "higher", "1,000"],
        ["all", "perplexity", "12.0000", "", "lower", ""],
    ]


def test_results_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(evaluation.UserError, match=r"cannot be written: .*; name another file with --out"):
        evaluation.write_scores([], tmp_path / "file" / "a.json", {})


def test_results_that_cannot_be_written_are_shown(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "prepare", lambda: None)
    monkeypatch.setattr(evaluation, "evaluate", lambda *_: [Score("arc", "acc", 0.2512, None, True, 4)])
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="2"):
        main(["eval", str(exported("gpt2")), "--tasks", "arc", "--out", str(tmp_path / "file" / "a.json")])
    printed = capsys.readouterr()
    assert "0.2512" in printed.out
    assert "name another file with --out" in printed.err
