"""Write finished parts to the shards of both splits, in the order of the sources."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep import parts
from data_prep.choose import Choice
from data_prep.encode import token_dtype
from data_prep.parts import Documents, Job
from data_prep.sources import Part

COUNTED_AT_ONCE = 1 << 22


def merge(job: Job, plan: list[Part], documents: Documents, choice: Choice, out: Path) -> dict[str, Any]:
    """Write the shards.

    Args:
        job: where the parts are.
        plan: the parts, all of them encoded.
        documents: the documents of the parts.
        choice: which documents to write, how often, and to which split.
        out: the folder for the shards.
    Returns:
        The manifest's `splits`, and the `unigram_entropy` of the training split in nats per token.
    """
    from data_prep.indexed import ShardWriter  # takes seconds

    train, validation = (ShardWriter(out / name, job.vocab_size) for name in ("train", "validation"))
    first = 0
    for part, count in zip(plan, documents.counts, strict=True):
        if count:
            here = slice(first, first := first + count)
            tokens, ends = parts.load_tokens(job, part), np.cumsum(documents.lengths[here], dtype=np.int64)
            train.add(tokens, ends, choice.copies[here] * ~choice.held_out[here])
            validation.add(tokens, ends, choice.copies[here] * choice.held_out[here])
    bytes_of_copies = documents.sizes * choice.copies
    splits = {
        "train": {**train.close(), "bytes": int(bytes_of_copies[~choice.held_out].sum())},
        "validation": {**validation.close(), "bytes": int(bytes_of_copies[choice.held_out].sum())},
    }
    return {"splits": splits, "unigram_entropy": _entropy_of_file(out / "train.bin", job.vocab_size)}


def _entropy_of_file(path: Path, vocab_size: int) -> float:
    """The entropy of the token frequencies of a shard, in nats per token."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    with path.open("rb") as file:
        while len(tokens := np.fromfile(file, token_dtype(vocab_size), COUNTED_AT_ONCE)):
            counts += np.bincount(tokens, minlength=vocab_size)
    return entropy(counts)


def entropy(counts: npt.NDArray[np.int64]) -> float:
    """The entropy in nats of the frequencies that counts, shape (kinds,), give."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())
