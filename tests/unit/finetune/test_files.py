"""Mistakes in a task's files, the model and the options are one sentence each, before anything is trained."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_models import POSITIONS, exported, write_separable

from apollo_ds.__main__ import main
from apollo_ds.errors import UserError
from apollo_ds.finetune.command import read, seeds_of
from apollo_ds.finetune.examples import Example, read_examples
from apollo_ds.finetune.questions import Question, read_questions
from apollo_ds.finetune.results import Results
from apollo_ds.finetune.scores import answer_scores, scores
from apollo_ds.finetune.settings import Settings
from apollo_ds.finetune.tasks import TASKS

Capture = pytest.CaptureFixture[str]


SENTENCE = "sentence\tlabel\n"


PAIR = "sentence1\tsentence2\tlabel\n"


def examples(tmp_path: Path, task: str, text: str | bytes, name: str = "train.tsv") -> list[Example]:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_examples(path, TASKS[task])


def test_quotes_are_text(tmp_path: Path) -> None:
    read = examples(tmp_path, "rte", f'{PAIR}He said "no.\tHe "spoke".\tentailment\n"a"\tb\tnot_entailment\n')
    assert read == [Example(('He said "no.', 'He "spoke".'), 0), Example(('"a"', "b"), 1)]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_line_ends_byte_order_marks_and_empty_lines_do_not_matter(line_end: str, tmp_path: Path) -> None:
    text = f"\ufeff{SENTENCE}a film\t1\n\nno film\t0".replace("\n", line_end)
    assert examples(tmp_path, "sst2", text) == [Example(("a film",), 1), Example(("no film",), 0)]


@pytest.mark.parametrize("label", [2, 2.0, "2", "contradiction"])
def test_labels_are_numbers_or_names(label: Any, tmp_path: Path) -> None:
    line = json.dumps({"premise": "a", "hypothesis": "b", "label": label, "idx": 0})
    assert examples(tmp_path, "mnli", line, "train.jsonl") == [Example(("a", "b"), 2)]


@pytest.mark.parametrize(
    ("task", "header", "row", "label"),
    [
        ("mrpc", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "1\t7\t8\ta\tb", 1),
        ("qqp", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "0\t1\t2\ta\tb\t1", 1),
        ("qnli", "index\tquestion\tsentence\tlabel", "0\ta\tb\tnot_entailment", 1),
        ("mnli", "index\tsentence1\tsentence2\tgold_label", "0\ta\tb\tneutral", 1),
        ("stsb", "index\tsentence1\tsentence2\tscore", "0\ta\tb\t4.25", 4.25),
        ("wnli", "index\tsentence1\tsentence2\tlabel", "0\ta\tb\t0", 0),
    ],
)
def test_the_columns_of_glue_s_own_files_are_known(
    task: str, header: str, row: str, label: float, tmp_path: Path
) -> None:
    assert examples(tmp_path, task, f"{header}\n{row}\n") == [Example(("a", "b"), label)]


@pytest.mark.parametrize(
    ("task", "text", "told"),
    [
        ("sst2", "", "holds no examples; each line after the header is one"),
        ("sst2", SENTENCE, "holds no examples; each line after the header is one"),
        ("sst2", "sentence\tlabel\tlabel\na\t1\t0\n", "line 1 names the column label twice; keep one"),
        ("sst2", "text\tlabel\na\t1\n", "no column sentence among text, label; name it so in its first line"),
        ("sst2", "sentence\ttarget\na\t1\n", "no column label among sentence, target; name it so in its first line"),
        ("mnli", f"{PAIR}a\tb\t3\n", "line 2: the label '3' is none of 0 (entailment), 1 (neutral), 2 (contradiction)"),
        (
            "sst2",
            f"{SENTENCE}a\t1\nb\t-1\n",
            "line 3: the label '-1' is none of 0 (negative), 1 (positive)",
        ),
        ("rte", f"{PAIR}a\tb\tyes\n", "line 2: the label 'yes' is none of 0 (entailment), 1 (not_entailment)"),
        ("stsb", f"{PAIR}a\tb\t5.1\n", "line 2: the label '5.1' is no number from 0 to 5; correct it"),
        ("stsb", f"{PAIR}a\tb\tnan\n", "line 2: the label 'nan' is no number from 0 to 5; correct it"),
        ("rte", f"{PAIR}a\tb\n", "line 2 has 2 columns, and the header 3; put one tab between two columns"),
        ("rte", f"{PAIR}a\tb\tc\td\n", "line 2 has 4 columns, and the header 3; put one tab between two columns"),
        ("sst2", f"{SENTENCE}\t1\n", "line 2 has no text; remove it"),
        ("sst2", f"{SENTENCE}caf\xe9\t1\n".encode("latin-1"), "is not UTF-8 text (invalid continuation byte); save"),
        ("sst2", f"{SENTENCE}a\t1\n".encode("utf-16"), "is UTF-16, or no text; save it as UTF-8"),
        ("sst2", f"{SENTENCE}a\t1\n".encode("utf-16-be"), "is UTF-16, or no text; save it as UTF-8"),
    ],
)
def test_a_mistake_in_a_table_names_the_file_the_line_and_the_fix(
    task: str, text: str | bytes, told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        examples(tmp_path, task, text)
    assert str(caught.value).startswith(f"{tmp_path}/train.tsv: {told}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"sentence": "a", "label": 1}\n{"sentence"\n', "line 2 is not JSON"),
        ("[1]\n", "line 1 is not a JSON object; write one object a line"),
        ('{"sentence": "a"}\n', "no column label among sentence; name it so in line 1"),
        ('{"sentence": null, "label": 1}\n', "line 1: sentence is null; give it a value, or remove the line"),
        ('{"sentence": "a", "label": null}\n', "line 1: label is null; give it a value, or remove the line"),
        ('{"sentence": "a", "label": NaN}\n', "line 1: the label 'nan' is none of 0 (negative), 1 (positive)"),
        (f'{{"sentence": "a", "label": {"9" * 400}}}\n', "line 1: the label '999"),
        ('{"sentence": NaN, "label": 1}\n', "line 1: nan is no text for sentence; write it in quotes"),
        ('{"sentence": ["a"], "label": 1}\n', "line 1: ['a'] is no text for sentence; write it in quotes"),
        ('{"sentence": "\\ud800", "label": 1}\n', "line 1 is not JSON"),
        (f"{'[' * 9999}\n", "line 1 is not JSON"),
        ('{"sentence": "a", "label": 1, "label": 0}\n', "line 1 has the key label twice; keep one"),
    ],
)
def test_a_mistake_in_json_lines_names_the_line(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        examples(tmp_path, "sst2", text, "dev.jsonl")
    assert str(caught.value).startswith(f"{tmp_path}/dev.jsonl: {told}")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--data: .*/nowhere is not a folder; "):
        read("rte", tmp_path / "nowhere", None)
    with pytest.raises(UserError, match=r"^--data: .* has no train\.tsv or train\.jsonl; put the file there"):
        read("rte", tmp_path, None)
    (tmp_path / "train.tsv").write_text("")
    (tmp_path / "train.jsonl").write_text("")
    with pytest.raises(UserError, match=r"^--data: .* has train\.tsv and train\.jsonl; keep one of them"):
        read("rte", tmp_path, None)
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(UserError, match=r"has no dev_matched\.tsv or dev_matched\.jsonl or dev\.tsv or dev\.jsonl; "):
        read("mnli", tmp_path, None)
    with pytest.raises(UserError, match=r"has no train\.json or train-v1\.1\.json; "):
        read("squad", tmp_path, None)


def squad_file(folder: Path, **asked: Any) -> Path:
    question = {"id": "q7", "question": "Who?", "answers": [{"answer_start": 4, "text": "cat"}], **asked}
    paragraphs = [{"context": "The cat.", "qas": [question]}]
    path = folder / "train.json"
    path.write_text(json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}))
    return path


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"answers": []}, "question q7 has no answer; use SQuAD 1.1, where each has one, not 2.0"),
        ({"is_impossible": True}, "question q7 has no answer; use SQuAD 1.1, where each has one, not 2.0"),
        (
            {"answers": [{"text": "cat"}]},
            "is not in the format of SQuAD 1.1 (data.0.paragraphs.0.qas.0.answers.0.answer_start: Field required); "
            "use its own files",
        ),
        (
            {"answers": [{"answer_start": 3, "text": "cat"}]},
            "question q7: the text does not hold the answer 'cat' at 3; correct it",
        ),
    ],
)
def test_a_mistake_in_squad_names_the_question(asked: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = squad_file(tmp_path, **asked)
    with pytest.raises(UserError) as caught:
        read_questions(path)
    assert str(caught.value) == f"{path}: {told}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"data": 3}',
        '{"rows": []}',
        "[" * 9999,
        '{"data": [{"paragraphs": [{"context": "a", "qas": [[]]}]}]}',
    ],
)
def test_what_is_not_squad_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(UserError, match=r"train\.json: is not in the format of SQuAD 1\.1 \("):
        read_questions(tmp_path / "train.json")


def test_a_byte_order_mark_does_not_matter_in_squad(tmp_path: Path) -> None:
    path = squad_file(tmp_path)
    path.write_text(f"\ufeff{path.read_text()}", encoding="utf-8")
    assert read_questions(path) == [Question("Who?", "The cat.", ((4, "cat"),))]


def test_metrics_have_their_known_values() -> None:
    wanted, predicted = [1, 1, 1, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 1, 0, 0]  # 2 true, 1 false positive; 2, 3 negative
    found = scores(("accuracy", "f1", "matthews"), predicted, wanted)
    matthews = (2 * 3 - 1 * 2) / (3 * 4 * 4 * 5) ** 0.5
    assert found == pytest.approx({"accuracy": 5 / 8, "f1": 4 / 7, "matthews": matthews})
    assert scores(("pearson", "spearman"), [1.0, 2.0, 4.0], [1.0, 3.0, 2.0]) == pytest.approx(
        {"pearson": 1.0 / (14 / 3 * 2) ** 0.5, "spearman": 0.5}
    )


@pytest.mark.parametrize("name", ["matthews", "pearson", "spearman", "f1"])
def test_a_constant_has_no_correlation(name: str) -> None:
    assert scores((name,), [0, 0, 0, 0], [1, 0, 1, 0]) == {name: 0.0}


def test_answers_are_compared_as_squad_does() -> None:
    people = [["Saint Bernadette", "Bernadette"], ["in 1976"]]
    found = answer_scores(["the bernadette.", "1976"], people)
    assert found == pytest.approx({"f1": (1 + 2 / 3) / 2, "exact_match": 0.5})


def refusal(capsys: Capture, *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["finetune", *words])
    assert caught.value.code == 2
    return capsys.readouterr().err.removeprefix("apollo-ds: ").rstrip("\n")


def test_mistakes_about_the_model_are_one_sentence(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = str(write_separable(tmp_path / "data"))

    def told(model: str, *options: str) -> str:
        return refusal(capsys, model, "--task", "sst2", "--data", data, "--out", str(tmp_path / "out"), *options)

    assert told(f"{tmp_path}/none").startswith(f"{tmp_path}/none: no such folder; name a run, an exported model, or ")
    assert told(str(tmp_path)) == f"{tmp_path}: not a run folder; it has no config.yaml and no config.json"
    assert told("data/none").startswith("data/none: no such folder; ")
    assert told("no-such-model").startswith("no-such-model: no such folder, and no model of the hub (")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("")
    assert told(str(run)) == (
        f"{run}: this run has no exported model; write it with `apollo-ds export {run} {run}/export`"
    )
    alone = shutil.copytree(exported("bert"), tmp_path / "alone")
    for path in alone.glob("tokenizer*"):
        path.unlink()
    assert told(str(alone)) == f"{alone}: holds no tokenizer; save the model's own there, with its tokenizer.json"
    bert = str(exported("bert"))
    assert told(bert, "--max-length", "64") == (
        f"--max-length: {bert} takes at most {POSITIONS} tokens; use --max-length {POSITIONS}"
    )
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").write_text("")
    assert told(bert).startswith(f"--out: cannot write to {tmp_path}/out: File exists; ")


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (("--epochs", "0"), "--epochs: must be at least 1, not 0"),
        (("--learning-rate", "-1"), "--learning-rate: must be above 0, not -1"),
        (("--seeds", "1", str(2**63)), f"--seeds: must be at most {2**63 - 1}, not {2**63}"),
        (("--max-length", "4"), "--max-length: must be at least 16, not 4"),
    ],
)
def test_options_have_bounds(option: tuple[str, str], told: str, capsys: Capture) -> None:
    assert told in refusal(capsys, "model", "--task", "sst2", "--data", "x", *option)


def test_a_key_that_comes_twice_in_squad_is_refused(tmp_path: Path) -> None:
    asked = '{"question": "who", "id": "1", "id": "2", "answers": [{"text": "a", "answer_start": 0}]}'
    (tmp_path / "train.json").write_text(f'{{"data": [{{"paragraphs": [{{"context": "a", "qas": [{asked}]}}]}}]}}')
    with pytest.raises(UserError, match=r"train\.json: has the key id twice in one object; keep one"):
        read_questions(tmp_path / "train.json")


def test_a_page_of_another_s_stays(tmp_path: Path) -> None:
    (tmp_path / "results.md").write_text("precious")
    with pytest.raises(UserError, match=r"results\.md: is not of finetune, as there is no results\.json; move it"):
        Results.open(tmp_path, Settings("rte", "", "", 1, 1, 1, None, "fp32"), {})


def test_one_number_counts_the_seeds_and_several_are_seeds() -> None:
    assert seeds_of([3]) == [1, 2, 3]
    assert seeds_of([7, 4, 7]) == [7, 4]
