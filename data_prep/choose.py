"""Which documents stay, and in which split: decided once for all parts, from the texts' hashes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_prep.errors import DataError
from data_prep.near import near_duplicates

Marks = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Choice:
    """What becomes of each of the n documents, in arrays of shape (n,).

    `copies` is how often it is written; `held_out` puts it into the validation split; `duplicate` and
    `near_duplicate` say why it is not written.
    """

    copies: npt.NDArray[np.int64]
    held_out: Marks
    duplicate: Marks
    near_duplicate: Marks


def choose(
    hashes: npt.NDArray[np.uint64],
    origin: npt.NDArray[np.intp],
    weights: list[float],
    fraction: float,
    deduplicate: bool,
    signatures: dict[Path, int],
) -> Choice:
    """Choose by the hash of each text, so that the order of documents does not matter.

    Args:
        hashes: 128 bits a document, shape (n, 2).
        origin: the number of the source of each document, shape (n,).
        weights: how often a training document of each source is written, on average.
        fraction: the share of each source that is held out, at least one of two or more documents.
        deduplicate: whether of equal texts only the first is written.
        signatures: files to find similar texts by, and how many documents each has; without, none is sought.
    Raises:
        DataError: no document left to train on or to hold out.
    """
    duplicate = _equal_to_earlier(hashes) if deduplicate else np.zeros(len(hashes), dtype=bool)
    near_duplicate = near_duplicates(signatures, ignored=duplicate)
    dropped = duplicate | near_duplicate
    held_out = _held_out(hashes[:, 0], np.where(dropped, -1, origin), len(weights), fraction)
    weight = np.array(weights)[origin]
    whole = np.floor(weight)
    copies = np.where(held_out, 1, whole + (hashes[:, 1] / 2.0**64 < weight - whole)).astype(np.int64)
    copies[dropped] = 0
    if not copies[~held_out].any() or not held_out[~dropped].any():
        raise DataError("too few documents to train on some and hold out others: give at least two that differ")
    return Choice(copies, held_out, duplicate, near_duplicate)


def _held_out(hashes: npt.NDArray[np.uint64], origin: npt.NDArray[np.intp], sources: int, fraction: float) -> Marks:
    """Mark the smallest hashes of each source, and whatever has the same text elsewhere."""
    uniform = hashes / 2.0**64
    marks = uniform < fraction
    for source in range(sources):
        own = np.flatnonzero(origin == source)
        if len(own) > 1:
            marks[own[uniform[own].argmin()]] = True
    return np.isin(hashes, hashes[marks])


def _equal_to_earlier(hashes: npt.NDArray[np.uint64]) -> Marks:
    order = np.lexsort(hashes.T)  # a stable sort: the first of equal documents leads them
    ordered = hashes[order]
    equal = (ordered[1:] == ordered[:-1]).all(axis=1)
    marks = np.zeros(len(hashes), dtype=bool)
    marks[order[1:][equal]] = True
    return marks
