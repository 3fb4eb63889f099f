"""Trained tokenizers are reproducible, given ones are what they claim, and transformers loads both."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, BertTokenizer, GPT2Tokenizer

from data_prep import files, tokenizer
from data_prep.errors import DataError


def test_facts_and_classes(tokenizers: dict[str, Path]) -> None:
    bert = AutoTokenizer.from_pretrained(tokenizers["wordpiece"])
    assert isinstance(bert, BertTokenizer)
    facts = tokenizer.facts(tokenizers["wordpiece"], "given")
    assert (facts.kind, facts.vocab_size, facts.special) == ("wordpiece", 1000, [0, 1, 2, 3, 4])
    assert (facts.pad, facts.cls, facts.end_of_document, facts.mask) == (0, 2, 3, 4)
    assert bert("Naïve")["input_ids"] == bert("naive")["input_ids"]

    gpt = AutoTokenizer.from_pretrained(tokenizers["bpe"])
    assert isinstance(gpt, GPT2Tokenizer)
    facts = tokenizer.facts(tokenizers["bpe"], "given")
    assert (facts.kind, facts.vocab_size, facts.special) == ("bpe", 1000, [0])
    assert (facts.pad, facts.cls, facts.end_of_document, facts.mask) == (None, None, 0, None)
    assert gpt.decode(gpt("Any thing: 漢 😀\n")["input_ids"]) == "Any thing: 漢 😀\n"


def test_a_given_vocabulary_is_berts(tokenizers: dict[str, Path], tmp_path: Path) -> None:
    vocabulary = sorted(AutoTokenizer.from_pretrained(tokenizers["wordpiece"]).get_vocab().items(), key=lambda i: i[1])
    (tmp_path / "vocab.txt").write_text("\n".join(token for token, _ in vocabulary) + "\n")
    tokenizer.load(str(tmp_path / "vocab.txt"), tmp_path / "loaded")
    assert files.sha256(tmp_path / "loaded" / "tokenizer.json") == files.sha256(
        tokenizers["wordpiece"] / "tokenizer.json"
    )


def test_a_cased_vocabulary_keeps_case(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*tokenizer.BERT_SPECIAL, "Word", "word"]) + "\n")
    tokenizer.load(str(tmp_path / "vocab.txt"), tmp_path / "loaded")
    assert AutoTokenizer.from_pretrained(tmp_path / "loaded").tokenize("Word word") == ["Word", "word"]


def test_a_saved_folder_is_taken_as_it_is(tokenizers: dict[str, Path], tmp_path: Path) -> None:
    tokenizer.load(str(tokenizers["bpe"]), tmp_path / "loaded")
    assert tokenizer.facts(tmp_path / "loaded", "given") == tokenizer.facts(tokenizers["bpe"], "given")


def test_tokenizers_that_cannot_be_used(tokenizers: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no tokenizer there: give wordpiece, bpe, a vocab"):
        tokenizer.load("nowhere", tmp_path / "loaded")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: holds no tokenizer that transformers loads"):
        tokenizer.load(str(tmp_path / "empty"), tmp_path / "loaded")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\nword\n")
    with pytest.raises(DataError, match=r"vocab\.txt: lacks \[SEP\], \[MASK\]: add a line for each"):
        tokenizer.load(str(tmp_path / "vocab.txt"), tmp_path / "loaded")


def test_a_tokenizer_without_an_end_of_document(tokenizers: dict[str, Path], tmp_path: Path) -> None:
    saved = AutoTokenizer.from_pretrained(tokenizers["bpe"])
    saved.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(config | {"eos_token": None, "tokenizer_class": "PreTrainedTokenizerFast"})
    )
    with pytest.raises(DataError, match="mine: has no eos_token: add it"):
        tokenizer.facts(tmp_path, "mine")


def test_a_large_corpus_is_sampled_evenly() -> None:
    texts = [str(i) for i in range(20_000)]
    chosen = sum(tokenizer.in_training_sample(text, 10 * tokenizer.TRAINING_BYTES) for text in texts)
    assert 1_800 < chosen < 2_200
    assert all(tokenizer.in_training_sample(text, 0) for text in texts)
