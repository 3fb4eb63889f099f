"""Finished parts to the shards of both splits, in the order of the sources."""

import warnings
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep import files, parts
from data_prep.choose import Choice
from data_prep.encode import token_dtype
from data_prep.parts import Documents, Job
from data_prep.sources import Part

COUNTED_AT_ONCE = 1 << 22


class SplitWriter:
    """Writes a split as Megatron `.bin/.idx`, one sequence and one document for each text."""

    def __init__(self, prefix: Path, vocab_size: int) -> None:
        with warnings.catch_warnings(action="ignore"):
            from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

        self.prefix = prefix
        self.tokens = 0
        self.builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=token_dtype(vocab_size))
        # Python lists of a few million numbers would take ten times the memory.
        self.builder.sequence_lengths = array("i")
        self.builder.document_indices = array("q", [0])

    def add(self, tokens: npt.NDArray[Any], ends: npt.NDArray[np.int64], copies: npt.NDArray[np.int64]) -> None:
        """Write the documents of a part, each as often as `copies` says; `ends` are their ends in `tokens`."""
        for i in np.flatnonzero(copies):
            document = tokens[ends[i - 1] if i else 0 : ends[i]]
            for _ in range(copies[i]):
                self.builder.add_document(document, [len(document)])
                self.tokens += len(document)

    def close(self) -> dict[str, Any]:
        """Write the index and return the split's entry in the manifest."""
        self.builder.finalize(f"{self.prefix}.idx")
        paths = [self.prefix.with_suffix(suffix) for suffix in (".bin", ".idx")]
        return {
            "documents": len(self.builder.sequence_lengths),
            "tokens": self.tokens,
            "files": {path.name: files.describe(path) for path in paths},
        }


def merge(job: Job, plan: list[Part], documents: Documents, choice: Choice, out: Path) -> dict[str, Any]:
    """Write the shards.

    Args:
        job: where the parts are.
        plan: the parts, all done.
        documents: what they hold.
        choice: what becomes of each document.
        out: the folder for the shards.
    Returns:
        The manifest's `splits`, and `unigram_entropy` in nats a token of the training split.
    """
    train, validation = (SplitWriter(out / name, job.vocab_size) for name in ("train", "validation"))
    first = 0
    for part, count in zip(plan, documents.counts, strict=True):
        if count:
            here = slice(first, first := first + count)
            tokens, ends = parts.load_tokens(job, part), np.cumsum(documents.lengths[here], dtype=np.int64)
            train.add(tokens, ends, choice.copies[here] * ~choice.held_out[here])
            validation.add(tokens, ends, choice.copies[here] * choice.held_out[here])
    splits = {"train": train.close(), "validation": validation.close()}
    return {"splits": splits, "unigram_entropy": _entropy(out / "train.bin", job.vocab_size)}


def _entropy(path: Path, vocab_size: int) -> float:
    """The entropy of the distribution of a shard's tokens, in nats a token."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    with path.open("rb") as file:
        while len(tokens := np.fromfile(file, token_dtype(vocab_size), COUNTED_AT_ONCE)):
            counts += np.bincount(tokens, minlength=vocab_size)
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())
