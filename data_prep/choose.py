"""Decide which documents stay, and in which split. It is decided once for all parts, from the hashes of the texts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_prep.errors import DataError
from data_prep.near import near_duplicates

SLACK = 4
"""At most this many times the wanted share of a source is held out, or this many times the share of an average text."""

Marks = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Choice:
    """The decision on each of the n documents, in arrays of shape (n,).

    `copies` says how often a document is written. `held_out` marks those that go into the validation split.
    `duplicate` and `near_duplicate` mark those that are not written, and say why.
    """

    copies: npt.NDArray[np.int64]
    held_out: Marks
    duplicate: Marks
    near_duplicate: Marks


def choose(
    hashes: npt.NDArray[np.uint64],
    lengths: npt.NDArray[np.int32],
    origin: npt.NDArray[np.intp],
    weights: list[float],
    fraction: float,
    deduplicate: bool,
    signatures: dict[Path, int],
) -> Choice:
    """Choose by the hash of each text, so that the order of documents does not matter.

    Args:
        hashes: 128 bits a document, shape (n, 2).
        lengths: the tokens of each document, shape (n,).
        origin: the number of the source of each document, shape (n,).
        weights: for each source, how often a training document is written, on average.
        fraction: the share of each source to hold out. Of two or more texts at least one is held out.
        deduplicate: whether only the first of several equal texts is written.
        signatures: files to find similar texts with, and how many documents each has. If it is empty, similar texts
            are not looked for.
    Raises:
        DataError: no document is left to train on, or none to hold out.
    """
    duplicate = _equal_to_earlier(hashes) if deduplicate else np.zeros(len(hashes), dtype=bool)
    near_duplicate = near_duplicates(signatures, ignored=duplicate)
    dropped = duplicate | near_duplicate
    held_out = _held_out(hashes[:, 0], np.where(dropped, 0, lengths), np.where(dropped, -1, origin), fraction)
    weight = np.array(weights)[origin]
    whole = np.floor(weight)
    copies = np.where(held_out, 1, whole + (hashes[:, 1] / 2.0**64 < weight - whole)).astype(np.int64)
    copies[dropped] = 0
    if not copies[~held_out].any() or not held_out[~dropped].any():
        raise DataError(
            "too few documents to train on some and hold out others: give at least two that differ (a text file is "
            "one document, and a large file one for each MiB)"
        )
    return Choice(copies, held_out, duplicate, near_duplicate)


def held_out_shares(
    choice: Choice, lengths: npt.NDArray[np.int32], origin: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """The share of each source's tokens that is held out, shape (sources,). Dropped documents do not count."""
    kept = lengths * ~(choice.duplicate | choice.near_duplicate)
    return np.bincount(origin, kept * choice.held_out) / np.maximum(np.bincount(origin, kept), 1)


def large_shares(names: list[str], shares: npt.NDArray[np.float64], fraction: float) -> list[str]:
    """A sentence for each source of which far more is held out than was asked for.

    This happens if a source has few documents, or long ones.
    """
    return [
        f"{name}: {share:.1%} of its tokens are held out, not {fraction:.1%}: its documents are few or long"
        for name, share in zip(names, shares, strict=True)
        if share > SLACK * max(fraction, 0.01)
    ]


def _held_out(
    hashes: npt.NDArray[np.uint64], lengths: npt.NDArray[np.int32], origin: npt.NDArray[np.intp], fraction: float
) -> Marks:
    """Mark the documents of each source that have the smallest hashes, as far as there is room.

    Documents with the same text in other sources are marked too.
    """
    marks = np.zeros(len(hashes), dtype=bool)
    order = np.argsort(hashes, kind="stable")
    order = order[origin[order] >= 0]
    uniform = hashes[order] / 2.0**64
    starts = np.flatnonzero(np.diff(hashes[order], prepend=hashes[order][:1] + np.uint64(1)))
    room, wanting = _room(hashes[order], lengths[order], origin[order], fraction)
    for start, stop in zip(starts, np.append(starts[1:], len(order)), strict=True):
        text = order[start:stop]
        if uniform[start] >= fraction:
            if not wanting:
                break
            if wanting.isdisjoint(origin[text]):
                continue
        tokens = np.bincount(origin[text], lengths[text], minlength=len(room))
        if (tokens <= room).all():
            marks[text] = True
            room -= tokens
            wanting -= set(origin[text].tolist())
    return marks


def _room(
    hashes: npt.NDArray[np.uint64], lengths: npt.NDArray[np.int32], origin: npt.NDArray[np.intp], fraction: float
) -> tuple[npt.NDArray[np.float64], set[int]]:
    """How many tokens of each source may be held out, shape (sources,), and the sources that can be split.

    The bound is in tokens because a few long documents can make up most of a source. If a source has few texts, the
    wanted share may be smaller than each of them. Then the share of an average text counts instead. Most of what was
    not asked for is always trained on.
    """
    texts = np.array([len(np.unique(hashes[origin == source])) for source in range(origin.max(initial=-1) + 1)])
    share = np.minimum(SLACK * np.maximum(fraction, 1 / np.maximum(texts, 1)), (1 + fraction) / 2)
    return share * np.bincount(origin, lengths), set(np.flatnonzero(texts > 1).tolist())


def _equal_to_earlier(hashes: npt.NDArray[np.uint64]) -> Marks:
    order = np.lexsort(hashes.T)  # a stable sort: the first of several equal documents comes first
    ordered = hashes[order]
    equal = (ordered[1:] == ordered[:-1]).all(axis=1)
    marks = np.zeros(len(hashes), dtype=bool)
    marks[order[1:][equal]] = True
    return marks
