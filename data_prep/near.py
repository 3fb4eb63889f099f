"""Near-duplicates: documents that share most of their five-word sequences.

Each document has a MinHash signature (by `rensa`). Two signatures give an estimate of the share of common sequences.
Two documents are compared only if their signatures agree in a band of eight values. This finds 0.95 of the pairs that
share 0.8 of their sequences, and 0.02 of the pairs that share 0.4.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rensa import RMinHash

WORDS = 5
PERMUTATIONS = 128
BAND = 8
SIMILAR = 0.8
WORDS_AT_ONCE = 1 << 14
PAIRS_AT_ONCE = 1 << 14

Signatures = npt.NDArray[np.uint32]


def signature(text: str) -> Signatures:
    """The MinHash signature of a text's sequences of five words, shape (128,). Upper and lower case count as equal."""
    minhash = RMinHash(num_perm=PERMUTATIONS, seed=0)
    words = text.lower().split()
    last = max(1, len(words) - WORDS + 1)
    for start in range(0, last, WORDS_AT_ONCE):
        stop = min(start + WORDS_AT_ONCE, last)
        minhash.update([" ".join(words[i : i + WORDS]) for i in range(start, stop)])
    return np.array(minhash.digest(), dtype=np.uint32)


def near_duplicates(files: dict[Path, int], ignored: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Mark documents that are similar to an earlier one.

    It needs memory for a few numbers per document, because it reads one band of the signatures at a time.

    Args:
        files: `.npy` files of signatures, shape (documents, 128), and how many documents each has.
        ignored: marks of documents that are already left out, shape (all documents,).
    Returns:
        Marks of the similar documents, shape (all documents,).
    """
    similar = np.zeros(len(ignored), dtype=bool)
    documents = np.flatnonzero(~ignored)
    for band in range(0, PERMUTATIONS, BAND) if files else ():
        keys = np.concatenate([_band_keys(_open(path)[:, band : band + BAND]) for path in files])
        for later, earlier in _pairs(keys[documents]):
            one, other = _signatures(files, documents[later]), _signatures(files, documents[earlier])
            similar[documents[later][(one == other).mean(axis=1) >= SIMILAR]] = True
    return similar


def _band_keys(band: Signatures) -> npt.NDArray[np.uint64]:
    """One number for each document, shape (documents,). Documents with equal values in the band get equal numbers."""
    odd = np.random.default_rng(0).integers(2**63, size=BAND, dtype=np.uint64) * 2 + 1
    return (band.astype(np.uint64) * odd).sum(axis=1, dtype=np.uint64)


def _pairs(keys: npt.NDArray[np.uint64]) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Yield arrays of pairs (document, first document with the same key), a few thousand pairs at a time."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], keys[order[1:]] != keys[order[:-1]]]))
    first = np.repeat(order[starts], np.diff(np.append(starts, len(keys))))
    repeated = np.flatnonzero(order != first)
    for at in range(0, len(repeated), PAIRS_AT_ONCE):
        some = repeated[at : at + PAIRS_AT_ONCE]
        yield order[some], first[some]


def _signatures(files: dict[Path, int], documents: npt.NDArray[np.intp]) -> Signatures:
    """The signatures of some documents, numbered over all files, shape (documents, 128)."""
    ends = np.cumsum(list(files.values()))
    owner = np.searchsorted(ends, documents, side="right")
    rows = np.empty((len(documents), PERMUTATIONS), dtype=np.uint32)
    for i, (path, count) in enumerate(files.items()):
        here = owner == i
        if here.any():
            rows[here] = _open(path)[documents[here] - (ends[i] - count)]
    return rows


def _open(path: Path) -> Signatures:
    return np.load(path, mmap_mode="r")
