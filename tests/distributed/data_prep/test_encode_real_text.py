"""Real text is encoded as the tokenizer alone encodes it."""

from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from data_prep.encode import Encoder


@pytest.fixture(params=["wordpiece", "bpe"])
def encoder(request: pytest.FixtureRequest, tokenizers: dict[str, Path]) -> Encoder:
    return Encoder(tokenizers[request.param] / "tokenizer.json", vocab_size=1000, end_of_document=3)


def ids_of(encoder: Encoder, text: str) -> list[int]:
    return np.frombuffer(encoder.encode(text), dtype=np.uint16).tolist()


def whole(encoder: Encoder, text: str) -> list[int]:
    return [*encoder.tokenizer.encode(text, add_special_tokens=False).ids, 3]


def test_real_text(encoder: Encoder, corpora: Path) -> None:
    for name, rows in (("wikipedia", 20), ("books", 1)):
        column = pyarrow.parquet.read_table(corpora / f"{name}.parquet", columns=["text"])["text"]
        for text in column[:rows].to_pylist():
            assert ids_of(encoder, text) == whole(encoder, text)
