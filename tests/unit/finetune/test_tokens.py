"""What a model is given: sentences, pairs and windows of a text, padded so that no number depends on the padding."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from tiny_models import POSITIONS, exported, write_separable

from apollo_ds.__main__ import main
from apollo_ds.errors import UserError
from apollo_ds.finetune.classification import Classification
from apollo_ds.finetune.pretrained import Pretrained
from apollo_ds.finetune.questions import Question
from apollo_ds.finetune.settings import Settings
from apollo_ds.finetune.training import Device, FineTuning
from apollo_ds.finetune.windows import Windows

FAMILIES = ("bert", "roberta_prelayernorm", "gpt2")


def opened(family: str) -> Pretrained:
    return Pretrained.open(str(exported(family)))


def settings(batch_size: int) -> Settings:
    values: dict[str, Any] = {"epochs": 1, "max_length": POSITIONS, "max_train_samples": None, "precision": "fp32"}
    return Settings(task="sst2", model="", data="", batch_size=batch_size, **values)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_do_not_depend_on_padding(family: str, tmp_path: Path) -> None:
    pretrained = opened(family)
    problem = Classification.read("sst2", write_separable(tmp_path), None).problem(pretrained, POSITIONS)
    model = pretrained.build(problem.auto_class, problem.config, seed=1)
    for parameter in model.parameters():
        parameter.data *= 8 if parameter.ndim > 1 else 1  # or all scores of a fresh model are about the same
    (held_out,) = problem.held_out
    assert len({len(feature["input_ids"]) for feature in held_out.features}) > 3

    def logits(batch_size: int) -> torch.Tensor:
        tuning = FineTuning(pretrained, settings(batch_size), Device("cpu", bf16=False), Console(quiet=True))
        return torch.stack(list(tuning.predict(model, problem, held_out.features)))

    one_by_one = logits(1)
    assert one_by_one.std(dim=0).min() > 0.05
    assert torch.allclose(logits(40), one_by_one, atol=1e-5, rtol=0)
    assert torch.allclose(logits(7), one_by_one, atol=1e-5, rtol=0)


def test_gpt2_scores_the_last_token_of_the_text(tmp_path: Path) -> None:
    pretrained = opened("gpt2")
    problem = Classification.read("sst2", write_separable(tmp_path), None).problem(pretrained, POSITIONS)
    model: Any = pretrained.build(problem.auto_class, problem.config, seed=1).eval()
    texts = ["the cat", "the dog sees the cat often"]
    batch = pretrained.tokenizer.pad(pretrained.encode(texts), return_tensors="pt")
    assert pretrained.tokenizer.pad_token_id == pretrained.tokenizer.eos_token_id
    assert batch["attention_mask"][0].tolist() == sorted(batch["attention_mask"][0].tolist(), reverse=True)
    with torch.no_grad():
        hidden = model.transformer(**batch).last_hidden_state
        last = batch["attention_mask"].sum(dim=1) - 1
        # The model multiplies every position at once, so the last ones' sums may be taken in another order.
        torch.testing.assert_close(model(**batch).logits, model.score(hidden[torch.arange(2), last]))


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_in_a_text_are_text(family: str) -> None:
    pretrained = opened(family)
    tokenizer = pretrained.tokenizer
    text = f"cat {tokenizer.pad_token} {tokenizer.sep_token or tokenizer.eos_token}"
    (tokens,) = pretrained.encode([text])["input_ids"]
    assert tokenizer.pad_token_id not in tokens
    assert tokens.count(tokenizer.sep_token_id) == (1 if tokenizer.sep_token else 0)


def test_pairs_are_separated() -> None:
    gpt2 = opened("gpt2")
    first, second = (gpt2.encode([text])["input_ids"][0] for text in ("the cat", "the dog"))
    pair = gpt2.encode(["the cat"], ["the dog"])
    assert pair["input_ids"][0] == [*first, gpt2.tokenizer.eos_token_id, *second]
    assert pair["attention_mask"][0] == [1] * len(pair["input_ids"][0])
    cut = gpt2.encode(["the cat " * 9], ["the dog"], truncation=True, max_length=16)["input_ids"][0]
    assert len(cut) == 16
    assert cut.count(gpt2.tokenizer.eos_token_id) == 1
    bert = opened("bert").encode(["the cat"], ["the dog"])
    assert bert["token_type_ids"][0] == sorted(bert["token_type_ids"][0])
    assert set(bert["token_type_ids"][0]) == {0, 1}
    assert "token_type_ids" not in opened("roberta_prelayernorm").encode(["the cat"], ["the dog"])


def test_the_number_of_positions_is_known() -> None:
    assert [opened(family).positions for family in FAMILIES] == [POSITIONS] * 3


def test_a_model_without_some_of_its_weights_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(exported("bert"), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "layer.1.output" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    pretrained = Pretrained.open(str(folder))
    problem = Classification.read("sst2", write_separable(tmp_path / "data"), None).problem(pretrained, 24)
    with pytest.raises(UserError, match=r"lacks 4 of its weights, such as bert\.encoder\.layer\.1\.output"):
        pretrained.build(problem.auto_class, problem.config, seed=1)


def test_pickled_weights_and_code_beside_a_model_are_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(exported("bert"), tmp_path / "model")
    problem = Classification.read("sst2", write_separable(tmp_path / "data"), None).problem(opened("bert"), 24)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"there is no model\.safetensors; load it and save it again"):
        Pretrained.open(str(folder)).build(problem.auto_class, problem.config, seed=1)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UserError, match=r"no model that transformers can load there"):
        Pretrained.open(str(folder))


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(exported("bert"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 10}))
    with pytest.raises(UserError, match=r"tokens, and the model 10; save the model's own tokenizer in its folder"):
        Pretrained.open(str(folder))


SENTENCE = "Often the  cat hears the fish\u2019s \u00e9cho again . "
CONTEXT = "the  bird sees the dog today . " * 6 + SENTENCE + "the dog likes . " * 8
QUESTIONS = [
    Question(question, CONTEXT, ((CONTEXT.index(answer), answer),))
    for question, answer in (
        ("who hears ?", "the  cat"),
        ("what is heard ?", "the fish\u2019s \u00e9cho"),
        ("when ?", "Often"),
        ("what else ?" * 20, "bird"),
        ("how often ?", "again"),
    )
]


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_become_tokens_and_characters_again(family: str) -> None:
    windows = Windows.of(QUESTIONS, opened(family), POSITIONS)
    assert len(windows.features) > 2 * len(QUESTIONS)
    assert all(len(feature["input_ids"]) <= POSITIONS for feature in windows.features)
    rows = []
    for feature in windows.labelled():
        row = torch.zeros(2, POSITIONS)
        if feature["start_positions"]:
            row[0, feature["start_positions"]] = row[1, feature["end_positions"]] = 9.0
        rows.append(row)
    assert windows.answers(rows) == [question.answers[0][1] for question in QUESTIONS]


def test_an_answer_is_neither_backwards_nor_in_the_question_nor_in_the_padding() -> None:
    windows = Windows.of([Question("what sees ?", "the cat sees", ((4, "cat"),))], opened("bert"), POSITIONS)
    (window,) = windows.windows
    first, last = window.first, window.first + len(window.offsets) - 1
    row = torch.zeros(2, POSITIONS)
    row[:, 0] = row[:, 1] = row[:, -1] = 100.0
    row[0, last] = row[1, first] = 5.0  # to begin at the last and to end at the first is no answer
    row[0, first], row[1, last] = 1.0, 2.0
    assert windows.answers([row]) == ["sees"]


def test_questions_are_answered_from_end_to_end(tmp_path: Path) -> None:
    for split, count in (("train", 60), ("dev", 12)):
        paragraphs = []
        for number in range(count):
            before, noun = "today " * (number % 4), ("cat", "dog", "bird", "fish")[number % 4]
            asked = {"id": str(number), "question": "who ?", "answers": [{"answer_start": len(before), "text": noun}]}
            paragraphs.append({"context": f"{before}{noun} likes again .", "qas": [asked]})
        (tmp_path / f"{split}-v1.1.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    words = [str(exported("bert")), "--task", "squad", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    main(["finetune", *words, "--seeds", "1", "--epochs", "10", "--learning-rate", "1e-2", "--batch-size", "12"])
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["settings"]["max_length"] == POSITIONS
    assert found["metrics"] == ["f1", "exact_match"]
    assert found["runs"][0]["final"]["exact_match"] > 0.8
