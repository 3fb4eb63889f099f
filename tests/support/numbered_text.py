"""Prepared text whose tokens are numbers, no two alike, so that a test can tell where each comes from."""

from pathlib import Path

import numpy as np
from manifests import manifest_of
from numpy.typing import NDArray

from apollo_ds.data.corpus import Corpus
from data_prep.indexed import ShardWriter
from data_prep.manifest import write_manifest

CLS, SEP, MASK = 1, 2, 3
SPECIAL = [0, CLS, SEP, MASK]
VOCAB_SIZE = 100_000
Document = NDArray[np.int64]


def prepared(folder: Path, train: list[Document], validation: list[Document]) -> Corpus:
    """A corpus of these documents."""
    for split, documents in (("train", train), ("validation", validation)):
        writer = ShardWriter(folder / split, VOCAB_SIZE)
        writer.add(np.concatenate(documents), np.cumsum([len(d) for d in documents]), np.ones(len(documents), np.int64))
        writer.close()
    manifest = manifest_of(folder, cls=CLS, mask=MASK, special=SPECIAL, vocab_size=VOCAB_SIZE)
    write_manifest(folder, manifest)
    return Corpus(folder, manifest)


def numbered(tokens: int, seed: int = 0) -> list[Document]:
    """Documents of 1 to 59 tokens, no token like another: each is the one before it plus one."""
    ends = np.cumsum(np.random.default_rng(seed).integers(1, 60, size=tokens))
    return np.split(np.arange(10, 10 + tokens), ends[ends < tokens])
