"""Shards hold what a tokenizer's own `encode` gives, for 5,000 texts of odd characters and each kind of tokenizer."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from given_tokenizers import GIVEN, odd_texts, save
from texts import write_jsonl
from transformers import AutoTokenizer

from data_prep.manifest import Manifest


@pytest.mark.parametrize("name", GIVEN)
def test_shards_hold_the_ids_of_encode(
    name: str, make: Callable[..., Manifest], texts: list[str], tmp_path: Path
) -> None:
    from data_prep.indexed import open_split

    given, out = save(name, texts, tmp_path / "given"), tmp_path / "out"
    documents = odd_texts(5000, seed=1)
    manifest = make(out, write_jsonl(tmp_path / "a.jsonl", documents), tokenizer=str(given))
    end = manifest.tokenizer.end_of_document
    encode = AutoTokenizer.from_pretrained(given, split_special_tokens=True).encode
    wanted = Counter((*encode(text, add_special_tokens=False), end) for text in documents)
    splits = [open_split(out / split) for split in manifest.splits]
    assert Counter(tuple(split[i].tolist()) for split in splits for i in range(len(split))) == wanted
