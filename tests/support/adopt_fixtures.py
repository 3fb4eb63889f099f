"""Shards of other tools, and what adopts them quietly: fixtures."""

import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_shards import write_shard
from rich.console import Console
from transformers import PreTrainedTokenizerFast

from data_prep import given_tokenizer
from data_prep.adopt import adopt
from data_prep.adoption import Adoption
from data_prep.manifest import Manifest

Run = Callable[..., tuple[Manifest, str]]


@pytest.fixture
def run(tokenizers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Adopts shards into `out` of the test's folder; returns the manifest and what was printed."""
    monkeypatch.setattr(given_tokenizer, "load", shutil.copytree)  # as saved here: comparing its ids takes seconds

    def adopted(*shards: Path, out: str = "out", **options: Any) -> tuple[Manifest, str]:
        printed = StringIO()
        given = {"tokenizer": str(tokenizers["bpe"]), "validation_fraction": 0.1, **options}
        adoption = Adoption(shards=tuple(map(str, shards)), **given)
        manifest = adopt(adoption, tmp_path / out, Console(file=printed, markup=False, width=200))
        return manifest, printed.getvalue()

    return adopted


@pytest.fixture
def documents(tokenizers: dict[str, Path], texts: list[str]) -> list[list[int]]:
    """The texts as a tool writes them that ends each document."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizers["bpe"])
    return [[*ids, tokenizer.eos_token_id] for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


@pytest.fixture
def shards(documents: list[list[int]], tmp_path: Path) -> Path:
    """A folder of two shards of different types, with an empty document, and some in both."""
    write_shard(tmp_path / "shards" / "a_text_document", [*documents[:120], []], np.uint16, sequences=3)
    write_shard(tmp_path / "shards" / "b_text_document", documents[60:], np.int64)
    return tmp_path / "shards"
