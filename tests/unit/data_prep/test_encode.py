"""Ids looked up word by word are those that the tokenizer gives for the whole text."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import Metaspace

from data_prep import encode
from data_prep.encode import Encoder

# White space of every sort, what tokenizers take for control characters, marks that combine, quotes, scripts.
ODD = "\t\r\v\f\x00\x1c\x1f\x85\xa0\u1680\u180e\u2003\u200b\u2028\u3000\ufeff\u0301\u0327\u2019'\"-_@#$%&*()[]{}<>|/\\"


LETTERS = "aAbzZéÉßİΣς09²½中文日本한글עב😀ﬁǅ\u0131\u03c3\u0627"


PIECES = [
    "'s",
    "'ll",
    " ",
    "  ",
    "\n",
    "\n\n",
    ". ",
    ", ",
    "! ",
    '."',
    "[SEP]",
    "<|endoftext|>",
    "[MASK]",
    "##ing",
    "word",
]


TEXTS = st.lists(st.one_of(st.sampled_from([*PIECES, *ODD, *LETTERS]), st.text(max_size=4)), max_size=40).map("".join)


@pytest.fixture(params=["wordpiece", "bpe"])
def encoder(request: pytest.FixtureRequest, tokenizers: dict[str, Path]) -> Encoder:
    return Encoder(tokenizers[request.param] / "tokenizer.json", vocab_size=1000, end_of_document=3)


@pytest.fixture(scope="session")
def encoders(tokenizers: dict[str, Path]) -> list[Encoder]:
    return [Encoder(folder / "tokenizer.json", vocab_size=1000, end_of_document=3) for folder in tokenizers.values()]


def ids_of(encoder: Encoder, text: str) -> list[int]:
    return np.frombuffer(encoder.encode(text), dtype=np.uint16).tolist()


def whole(encoder: Encoder, text: str) -> list[int]:
    return [*encoder.tokenizer.encode(text, add_special_tokens=False).ids, 3]


@settings(max_examples=400)
@given(text=TEXTS)
def test_any_text(encoders: list[Encoder], text: str) -> None:
    for encoder in encoders:
        assert encoder.by_words
        assert ids_of(encoder, text) == whole(encoder, text)


def test_the_cache_may_overflow(encoder: Encoder, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "CACHED_WORDS", 50)
    for text in texts[:5]:
        assert ids_of(encoder, text) == whole(encoder, text)
    assert len(encoder.words) <= 50


def test_text_cannot_forge_special_tokens(encoder: Encoder) -> None:
    ids = ids_of(encoder, "a [SEP] b [MASK] c <|endoftext|> d [CLS]")
    special = {encoder.tokenizer.token_to_id(t) for t in ("[SEP]", "[MASK]", "[CLS]", "<|endoftext|>")} - {None}
    assert not special & set(ids[:-1])


def test_other_tokenizers_take_documents_whole(tokenizers: dict[str, Path], tmp_path: Path) -> None:
    settings = json.loads((tokenizers["bpe"] / "tokenizer.json").read_text())
    settings["added_tokens"].append({**settings["added_tokens"][0], "id": 1000, "content": "a b", "special": False})
    (tmp_path / "added.json").write_text(json.dumps(settings))
    tokenizer = Tokenizer.from_file(str(tokenizers["bpe"] / "tokenizer.json"))
    tokenizer.pre_tokenizer = Metaspace()
    tokenizer.save(str(tmp_path / "metaspace.json"))
    for name in ("added", "metaspace"):
        encoder = Encoder(tmp_path / f"{name}.json", vocab_size=1001, end_of_document=3)
        assert not encoder.by_words
        assert ids_of(encoder, "a b and a b") == whole(encoder, "a b and a b")


def test_saved_truncation_and_padding_are_ignored(tokenizers: dict[str, Path], tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tokenizers["wordpiece"] / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    tokenizer.save(str(tmp_path / "t.json"))
    encoder = Encoder(tmp_path / "t.json", vocab_size=1000, end_of_document=3)
    assert len(ids_of(encoder, "one two three four five six, seven. ninety-nine")) > 8


def test_tokens_take_two_bytes_where_the_vocabulary_allows() -> None:
    assert encode.token_dtype(65536) is np.uint16
    assert encode.token_dtype(65537) is np.int32
