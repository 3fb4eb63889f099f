"""Encoding by fastokens, which a stand-in with the same calls plays where it is not installed."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from texts import write_jsonl
from tokenizers import Tokenizer

from data_prep import fast, parts
from data_prep.build import build
from data_prep.encode import Encoder, plain_text
from data_prep.errors import DataError
from data_prep.fast import FastEncoder, check_library
from data_prep.options import Options
from data_prep.sources import parse

QUIET = Console(quiet=True)
SPELLED = ["<|endoftext|>", "a <|endoftext|> b", "", " \n\t", "don't", "é\u0301 中文 😀"]


class StandIn:
    """The calls of `fastokens.Tokenizer` that are made."""

    spoilt = False

    def __init__(self, path: str) -> None:
        self.tokenizer = plain_text(Tokenizer.from_file(path))

    @classmethod
    def from_file(cls, path: str) -> "StandIn":
        return cls(path)

    def encode_ordinary(self, text: str) -> SimpleNamespace:
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return SimpleNamespace(ids=[*ids, 5] if self.spoilt else ids)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[StandIn]]:
    module = ModuleType("fastokens")
    module.Tokenizer = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fastokens", module)
    monkeypatch.setattr(fast, "find_spec", lambda _: object())
    yield StandIn
    parts._encoder.cache_clear()


def test_a_build_by_it_has_the_same_bytes(
    installed: type[StandIn], tokenizers: dict[str, Path], tmp_path: Path, texts: list[str]
) -> None:
    options = Options(parse([str(write_jsonl(tmp_path / "a.jsonl", texts))]), tokenizer="bpe", vocab_size=500)
    build(replace(options, encoder="fastokens"), tmp_path / "fast", 1, QUIET)
    build(options, tmp_path / "exact", 1, QUIET)
    for name in ("train.bin", "train.idx", "validation.bin", "validation.idx"):
        assert (tmp_path / "fast" / name).read_bytes() == (tmp_path / "exact" / name).read_bytes()
    with pytest.raises(DataError, match="was begun with encoder fastokens, not tokenizers"):
        build(options, tmp_path / "fast", 1, QUIET)


def test_other_ids_end_the_build(installed: type[StandIn], tokenizers: dict[str, Path], tmp_path: Path) -> None:
    encoder = FastEncoder(tokenizers["bpe"] / "tokenizer.json", 1000, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StandIn, "spoilt", True)
        with pytest.raises(
            DataError, match=r"fastokens and tokenizers give different ids for 'a text': give another --out"
        ):
            encoder.encode("a text")
    for _ in range(fast.COMPARED):
        encoder.encode("a text")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(DataError, match="different ids for 'another'"):
        patch.setattr(StandIn, "spoilt", True)
        encoder.encode("another")


def test_a_tokenizer_that_it_is_not_for_is_refused(installed: type[StandIn], tokenizers: dict[str, Path]) -> None:
    with pytest.raises(DataError, match="this tokenizer is not byte-level BPE with GPT-2's settings: leave"):
        FastEncoder(tokenizers["wordpiece"] / "tokenizer.json", 1000, 0)
    with pytest.raises(DataError, match="wordpiece is not byte-level BPE"):
        check_library("fastokens", "wordpiece")


def test_a_tokenizer_that_it_cannot_load_is_refused(
    installed: type[StandIn], tokenizers: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise ValueError("no such decoder")

    monkeypatch.setattr(StandIn, "from_file", refuse)
    with pytest.raises(DataError, match=r"cannot load this tokenizer \(no such decoder\): leave the option out"):
        FastEncoder(tokenizers["bpe"] / "tokenizer.json", 1000, 0)


def test_a_library_that_is_missing_is_told_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "find_spec", lambda _: None)
    options = Options(parse([str(write_jsonl(tmp_path / "a.jsonl", ["one"]))]), tokenizer="bpe", encoder="fastokens")
    with pytest.raises(DataError, match=r"library is not installed: run `pip install 'apollo_ds\[fast\]'`"):
        build(options, tmp_path / "out", 1, QUIET)
    assert not (tmp_path / "out").exists()


def test_the_library_itself_gives_equal_ids(tokenizers: dict[str, Path], texts: list[str]) -> None:
    pytest.importorskip("fastokens", reason="an option: pip install 'apollo_ds[fast]'")
    path = tokenizers["bpe"] / "tokenizer.json"
    encoders: list[Any] = [make(path, 1000, 0) for make in (FastEncoder, Encoder)]
    characters = [f"a{chr(code)}b {chr(code)}" for code in range(0x20000) if not 0xD800 <= code < 0xE000]
    encode: Callable[[str], list[bytes]] = lambda text: [encoder.encode(text) for encoder in encoders]  # noqa: E731
    for text in (*texts, *SPELLED, *characters):
        ids, exact = encode(text)
        assert ids == exact, ascii(text)
