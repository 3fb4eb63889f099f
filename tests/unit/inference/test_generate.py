"""A causal model continues text: the same for a seed, within what it takes, and nothing else is printed."""

import io
import json
import sys
from pathlib import Path

import pytest
from asking import Capture, output, refusal
from tiny_models import POSITIONS, diverged, exported
from transformers import pipeline

from apollo_ds.__main__ import main
from apollo_ds.models.families import FAMILIES

CAUSAL = [name for name, family in FAMILIES.items() if not family.is_masked]
PROMPT = "the cat sees"


@pytest.fixture
def model() -> str:
    return str(exported("gpt2"))


@pytest.mark.parametrize("family", CAUSAL)
def test_the_likeliest_tokens_are_those_of_transformers(family: str, capsys: Capture) -> None:
    folder = str(exported(family))
    printed = output(capsys, "generate", folder, PROMPT, "--temperature", "0", "--max-new-tokens", "12")
    (expected,) = pipeline("text-generation", folder)(PROMPT, do_sample=False, max_new_tokens=12)
    assert printed == expected["generated_text"] + "\n"


def test_a_seed_decides_the_text(model: str, capsys: Capture) -> None:
    texts = [output(capsys, "generate", model, PROMPT, "--seed", seed) for seed in ("1", "1", "2")]
    assert texts[0] == texts[1] != texts[2]
    assert all(text.startswith(PROMPT) for text in texts)


def test_several_prompts_and_texts_stand_apart(model: str, capsys: Capture) -> None:
    words = ("generate", model, PROMPT, "the dog", "--count", "2", "--max-new-tokens", "3")
    told = json.loads(output(capsys, *words, "--json"))
    assert [one["prompt"] for one in told] == [PROMPT, PROMPT, "the dog", "the dog"]
    assert {one["tokens"] for one in told} == {3}
    assert {one["ended"] for one in told} == {"max_new_tokens"}
    assert output(capsys, *words) == "\n\n".join(one["prompt"] + one["text"] for one in told) + "\n"


@pytest.mark.parametrize("words", [(), ("-",)])
def test_what_is_piped_in_is_the_prompt(
    words: tuple[str, ...], model: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = output(capsys, "generate", model, PROMPT)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{PROMPT}\n"))
    assert output(capsys, "generate", model, *words) == expected


def test_a_text_ends_where_the_model_takes_no_more(model: str, capsys: Capture) -> None:
    main(["generate", model, PROMPT, "--max-new-tokens", "500", "--temperature", "0", "--json"])
    printed = capsys.readouterr()
    (told,) = json.loads(printed.out)
    assert told["ended"] == "positions"
    assert told["tokens"] < POSITIONS
    assert printed.err == f"apollo-ds: stopped at {POSITIONS} tokens, the most that the model takes\n"


def test_an_empty_prompt_begins_a_text(model: str, capsys: Capture) -> None:
    assert output(capsys, "generate", model, "", "--seed", "3").strip()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("the cat " * 40,), f"takes at most {POSITIONS} with those that follow; shorten it by"),
        (("\udce4",), "PROMPT: is not UTF-8"),
        ((PROMPT, "--temperature", "-1"), "--temperature -1: give 0"),
        ((PROMPT, "--temperature", "nan"), "--temperature nan: give 0"),
        ((PROMPT, "--temperature", "1e-40"), "--temperature 1e-40: give 0, for the likeliest token, or 0.001 or more"),
        ((PROMPT, "--seed", str(2**63)), f"--seed: must be at most {2**63 - 1}, not {2**63}"),
        ((PROMPT, "--top-p", "0"), "--top-p 0: give a number above 0"),
        ((PROMPT, "--temperature", "0", "--count", "2"), "--count 2: with --temperature 0 all texts are the same"),
        ((PROMPT, "--step", "3"), "is no run, and has no checkpoints; leave --step out"),
    ],
)
def test_a_mistake_is_one_sentence(words: tuple[str, ...], said: str, model: str, capsys: Capture) -> None:
    assert said in refusal(capsys, "generate", model, *words)


def test_without_a_prompt_a_terminal_is_told_so(model: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert refusal(capsys, "generate", model).startswith("PROMPT: is missing; write it behind the model")


def test_a_masked_model_names_the_other_command(capsys: Capture) -> None:
    folder = exported("bert")
    assert refusal(capsys, "generate", str(folder), PROMPT).endswith(f"ask it with `apollo-ds fill {folder}`")


def test_a_model_of_another_kind_is_refused(tmp_path: Path, model: str, capsys: Capture) -> None:
    for path in Path(model).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["GPT2ForSequenceClassification"]}))
    said = refusal(capsys, "generate", str(tmp_path), PROMPT)
    assert said.endswith("save it with AutoModelForCausalLM or AutoModelForMaskedLM")


@pytest.mark.parametrize("temperature", ["0", "0.8"])
def test_a_model_that_has_diverged_is_refused(temperature: str, tmp_path: Path, model: str, capsys: Capture) -> None:
    folder = diverged("gpt2", tmp_path)
    said = refusal(capsys, "generate", str(folder), PROMPT, "--temperature", temperature)
    assert said.startswith(f"{folder}: its logits are not finite")


@pytest.mark.parametrize(("is_terminal", "shown"), [(True, "a\ufffdc"), (False, "a\x1bc")])
def test_a_terminal_does_not_obey_a_text(
    is_terminal: bool, shown: str, model: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    main(["generate", model, "a\x1bc", "--max-new-tokens", "1"])
    assert capsys.readouterr().out.startswith(shown)
