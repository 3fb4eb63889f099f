"""A masked model fills in words: the likeliest for each mask, as transformers finds them."""

import json
from pathlib import Path

import pytest
from asking import Capture, output, refusal
from rich.console import Console
from tiny_models import POSITIONS, diverged, exported
from transformers import AutoTokenizer, pipeline

from apollo_ds.inference.filled_table import print_filled
from apollo_ds.inference.filling import Candidate, Filled
from apollo_ds.models.families import FAMILIES

MASKED = [name for name, family in FAMILIES.items() if family.is_masked]
SENTENCE = "the cat [MASK] the dog [MASK] ."


@pytest.mark.parametrize("family", MASKED)
def test_candidates_are_those_of_transformers(family: str, capsys: Capture) -> None:
    folder = str(exported(family))
    (told,) = json.loads(output(capsys, "fill", folder, SENTENCE, "--top", "3", "--json"))
    expected = pipeline("fill-mask", folder, top_k=3)(SENTENCE)
    assert [[one["token"] for one in mask] for mask in told["masks"]] == [
        [one["token_str"].strip() for one in mask] for mask in expected
    ]
    found = [one["probability"] for mask in told["masks"] for one in mask]
    assert found == pytest.approx([one["score"] for mask in expected for one in mask], rel=1e-4)
    assert "[MASK]" not in told["text"]


def test_a_pipe_gets_a_line_for_each_token(capsys: Capture) -> None:
    folder = str(exported("bert"))
    (told,) = json.loads(output(capsys, "fill", folder, SENTENCE, "--top", "2", "--json"))
    lines = output(capsys, "fill", folder, SENTENCE, "--top", "2").splitlines()
    assert [line.split("\t")[:2] for line in lines] == [
        [str(number), one["token"]] for number, mask in enumerate(told["masks"], start=1) for one in mask
    ]


def test_a_person_gets_the_sentence_and_a_table() -> None:
    console = Console(force_terminal=True, width=60)
    with console.capture() as shown:
        print_filled([Filled("a [MASK]", "a [b]\x07", [[Candidate("[b]", 0.25)]])], console)
    assert "a [b]\ufffd" in shown.get()
    assert "25.0%" in shown.get()


def test_a_mask_is_spelt_so_whatever_the_tokenizer_calls_it(tmp_path: Path, capsys: Capture) -> None:
    for path in exported("bert").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.mask_token = "[UNK]"
    tokenizer.save_pretrained(tmp_path)
    spelt = [output(capsys, "fill", str(tmp_path), f"the {mask} today") for mask in ("[MASK]", "[UNK]")]
    assert spelt[0] == spelt[1]


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("the cat", "SENTENCE: 'the cat' has no [MASK]; write it where a word is to be filled in"),
        ("the [MASK] " * 40, f"takes at most {POSITIONS}; shorten it by"),
    ],
)
def test_a_mistake_is_one_sentence(sentence: str, said: str, capsys: Capture) -> None:
    assert said in refusal(capsys, "fill", str(exported("bert")), sentence)


def test_a_causal_model_names_the_other_command(capsys: Capture) -> None:
    folder = exported("gpt2")
    assert refusal(capsys, "fill", str(folder), SENTENCE).endswith(f"ask it with `apollo-ds generate {folder}`")


def test_a_model_that_has_diverged_is_refused(tmp_path: Path, capsys: Capture) -> None:
    folder = diverged("bert", tmp_path)
    assert refusal(capsys, "fill", str(folder), SENTENCE).startswith(f"{folder}: its logits are not finite")
