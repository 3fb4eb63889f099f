"""Invented texts, and files of them."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

SYLLABLES = ["ka", "lo", "mi", "ne", "ro", "su", "ta", "vi", "en", "or", "ist", "al", "un", "der", "ing", "tion", "ble"]


def make_texts(count: int, seed: int = 0, words: int = 120) -> list[str]:
    """Documents of invented words with sentences, paragraphs, accents and numbers."""
    rng = random.Random(seed)
    lexicon = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(2000)] + [
        "Ünïcode",
        "naïve",
        "42",
        "1,024",
    ]
    texts = []
    for _ in range(count):
        sentences = [
            " ".join(rng.choices(lexicon, k=rng.randint(4, 16))).capitalize() + rng.choice(".?!")
            for _ in range(words // 10)
        ]
        texts.append("".join(sentence + rng.choice([" ", " ", "\n", "\n\n"]) for sentence in sentences))
    return texts


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts)))
    return path


def write_parquet(path: Path, texts: list[str], **options: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.table({"title": ["t"] * len(texts), "text": texts}), path, **options)
    return path
