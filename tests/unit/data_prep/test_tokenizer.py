"""What shards must know of a tokenizer, and that transformers loads those that are trained."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, BertTokenizer, GPT2Tokenizer

from data_prep import tokenizer
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


def test_a_tokenizer_without_an_end_of_document(tokenizers: dict[str, Path], tmp_path: Path) -> None:
    saved = AutoTokenizer.from_pretrained(tokenizers["bpe"])
    saved.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(config | {"eos_token": None, "tokenizer_class": "PreTrainedTokenizerFast"})
    )
    with pytest.raises(DataError, match="mine: has no eos_token or sep_token to end documents: name one"):
        tokenizer.facts(tmp_path, "mine")


def test_a_large_corpus_is_sampled_evenly() -> None:
    texts = [str(i) for i in range(20_000)]
    chosen = sum(tokenizer.in_training_sample(text, 10 * tokenizer.TRAINING_BYTES) for text in texts)
    assert 1_800 < chosen < 2_200
    assert all(tokenizer.in_training_sample(text, 0) for text in texts)
