"""Given tokenizers are what they claim: the ids of each are those of its own `encode`, or it is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from given_tokenizers import GIVEN, odd_texts, save
from tokenizer_mutations import try_mutations
from transformers import AutoTokenizer, ByT5Tokenizer

from data_prep import files, given_tokenizer, tokenizer
from data_prep.encode import Encoder, token_dtype
from data_prep.errors import DataError
from data_prep.tokenizer import BERT_SPECIAL


def write_vocabulary(path: Path, *tokens: str, end: str = "\n") -> str:
    path.write_bytes(end.join([*BERT_SPECIAL, *tokens, ""]).encode())
    return str(path)


def write_changed(given: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """Change the settings of a folder's tokenizer.json; returns the folder."""
    settings = json.loads((given / "tokenizer.json").read_text())
    change(settings)
    (given / "tokenizer.json").write_text(json.dumps(settings))
    return str(given)


@pytest.mark.parametrize("name", GIVEN)
def test_ids_are_those_of_encode(name: str, texts: list[str], tmp_path: Path) -> None:
    given = save(name, texts, tmp_path / "given")
    given_tokenizer.load(str(given), tmp_path / "loaded")
    facts = tokenizer.facts(tmp_path / "loaded", name)
    encoder = Encoder(tmp_path / "loaded" / "tokenizer.json", facts.vocab_size, facts.end_of_document)
    wanted = AutoTokenizer.from_pretrained(given, split_special_tokens=True)
    for text in odd_texts(500, seed=2):
        ids = np.frombuffer(encoder.encode(text), token_dtype(facts.vocab_size)).tolist()
        assert ids == [*wanted.encode(text, add_special_tokens=False), facts.end_of_document], text


def test_bytes_are_byt5s(texts: list[str], tmp_path: Path) -> None:
    ours, byt5 = AutoTokenizer.from_pretrained(save("bytes", texts, tmp_path)), ByT5Tokenizer()
    for text in odd_texts(100, seed=3):
        assert ours.encode(text, add_special_tokens=False, split_special_tokens=True) == byt5.encode(
            text, add_special_tokens=False, split_special_tokens=True
        )


def test_the_greatest_id_gives_the_size(texts: list[str], tmp_path: Path) -> None:
    facts = tokenizer.facts(save("ids with gaps", texts, tmp_path), "mine")
    assert (facts.vocab_size, token_dtype(facts.vocab_size)) == (70_001, np.int32)


def test_a_given_vocabulary_is_berts(tokenizers: dict[str, Path], tmp_path: Path) -> None:
    vocabulary = sorted(AutoTokenizer.from_pretrained(tokenizers["wordpiece"]).get_vocab().items(), key=lambda i: i[1])
    (tmp_path / "vocab.txt").write_text("\n".join(token for token, _ in vocabulary) + "\n")
    for number, given in enumerate((tmp_path / "vocab.txt", tmp_path)):
        given_tokenizer.load(str(given), tmp_path / str(number))
        assert files.sha256(tmp_path / str(number) / "tokenizer.json") == files.sha256(
            tokenizers["wordpiece"] / "tokenizer.json"
        )


def test_a_cased_vocabulary_keeps_case(tmp_path: Path) -> None:
    given_tokenizer.load(write_vocabulary(tmp_path / "vocab.txt", "Word", "word"), tmp_path / "loaded")
    assert AutoTokenizer.from_pretrained(tmp_path / "loaded").tokenize("Word word") == ["Word", "word"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_a_line_feed_ends_a_token(end: str, tmp_path: Path) -> None:
    given = write_vocabulary(tmp_path / "vocab.txt", "one", "\u2028", "\x85", "two", end=end)
    given_tokenizer.load(given, tmp_path / "loaded")
    assert AutoTokenizer.from_pretrained(tmp_path / "loaded").convert_tokens_to_ids(["one", "two"]) == [5, 8]


def test_a_byte_order_mark_is_not_of_the_first_token(tmp_path: Path) -> None:
    path = Path(write_vocabulary(tmp_path / "vocab.txt", "one"))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    given_tokenizer.load(str(path), tmp_path / "loaded")
    assert tokenizer.facts(tmp_path / "loaded", "mine").pad == 0


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"[PAD]\n[UNK]\n[CLS]\nword\n", r"lacks \[SEP\], \[MASK\]: add a line for each"),
        (b"one\ntwo\none\n", "lines 1 and 3 are the same token 'one'"),
        (b"one\n\ntwo\n", "line 2 is empty"),
        (b"one\n\xff\n", "is not text in UTF-8"),
    ],
)
def test_a_vocabulary_that_cannot_be_used(content: bytes, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"vocab\.txt: {complaint}"):
        given_tokenizer.load(str(tmp_path / "vocab.txt"), tmp_path / "loaded")


def test_a_saved_folder_is_taken_as_it_is(tokenizers: dict[str, Path], tmp_path: Path) -> None:
    given_tokenizer.load(str(tokenizers["bpe"]), tmp_path / "loaded")
    assert tokenizer.facts(tmp_path / "loaded", "given") == tokenizer.facts(tokenizers["bpe"], "given")


@pytest.mark.parametrize("model", ["bert", "gpt2", "llama", "t5", None])
def test_a_folder_without_a_tokenizer(model: str | None, tmp_path: Path) -> None:
    if model:  # of which transformers makes a tokenizer without text
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model}))
    with pytest.raises(DataError, match="holds no tokenizer"):
        given_tokenizer.load(str(tmp_path), tmp_path / "loaded")
    with pytest.raises(DataError, match="nowhere: there is no such file or folder; give wordpiece or bpe"):
        given_tokenizer.load("nowhere", tmp_path / "loaded")


def test_a_tokenizer_that_is_not_of_the_library(tmp_path: Path) -> None:
    ByT5Tokenizer().save_pretrained(tmp_path)
    with pytest.raises(DataError, match="ByT5Tokenizer is not of the tokenizers library"):
        given_tokenizer.load(str(tmp_path), tmp_path / "loaded")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda settings: settings["model"].update(dropout=0.1), "dropout is 0.1, so that the same text would be"),
        (lambda settings: settings["model"]["vocab"].update({"a": 70}), "have the same id, 70"),
        (lambda settings: settings["model"]["vocab"].update({"new": 1 << 24}), "has the id 16,777,216"),
        (lambda settings: settings.pop("model"), "is not a tokenizer's JSON"),
        (lambda settings: settings["model"].update(type="Guess"), "holds no tokenizer that transformers loads"),
    ],
)
def test_settings_that_cannot_be_used(
    change: Callable[[dict[str, Any]], None], complaint: str, texts: list[str], tmp_path: Path
) -> None:
    given = write_changed(save("byte-level BPE", texts, tmp_path / "given"), change)
    with pytest.raises(DataError, match=complaint):
        given_tokenizer.load(given, tmp_path / "loaded")


def test_a_key_that_comes_twice(texts: list[str], tmp_path: Path) -> None:
    path = save("byte-level BPE", texts, tmp_path / "given") / "tokenizer.json"
    path.write_text(path.read_text().replace('"a":', '"zz":7,"zz":', 1))
    with pytest.raises(DataError, match="has the key 'zz' twice"):
        given_tokenizer.load(str(path.parent), tmp_path / "loaded")


def test_a_class_of_transformers_that_encodes_otherwise(texts: list[str], tmp_path: Path) -> None:
    """GPT-2's class puts no space before a text, whatever tokenizer.json says."""
    given = save("byte-level BPE with a prefix space", texts, tmp_path / "given", tokenizer_class="GPT2Tokenizer")
    with pytest.raises(DataError, match=r"its tokenizer\.json and the GPT2Tokenizer that transformers"):
        given_tokenizer.load(str(given), tmp_path / "loaded")


def test_code_of_a_folder_is_neither_run_nor_passed_on(texts: list[str], tmp_path: Path) -> None:
    given = save("byte-level BPE", texts, tmp_path / "given", auto_map={"AutoTokenizer": ["own.Own", None]})
    (given / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    given_tokenizer.load(str(given), tmp_path / "loaded")
    assert not (tmp_path / "ran").exists()
    assert "auto_map" not in (tmp_path / "loaded" / "tokenizer_config.json").read_text()


def test_mutations_are_refused_or_harmless(tmp_path: Path) -> None:
    assert not [str(one) for one in try_mutations(tmp_path, 6, seed=1) if one.is_fault]
