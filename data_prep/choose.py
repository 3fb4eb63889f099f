"""Which documents stay, and in which split: decided once for all parts, from the texts' hashes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_prep.errors import DataError
from data_prep.near import near_duplicates

SLACK = 4
"""How many times the asked share of a source, or the share of an average text, may be held out."""

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
        weights: how often a training document of each source is written, on average.
        fraction: the share of each source that is held out, at least one of two or more texts.
        deduplicate: whether of equal texts only the first is written.
        signatures: files to find similar texts by, and how many documents each has; without, none is sought.
    Raises:
        DataError: no document left to train on or to hold out.
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
            "one, or of a larger one each MiB)"
        )
    return Choice(copies, held_out, duplicate, near_duplicate)


def held_out_shares(
    choice: Choice, lengths: npt.NDArray[np.int32], origin: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """The share of each source's tokens that is held out, shape (sources,), of what is not dropped."""
    kept = lengths * ~(choice.duplicate | choice.near_duplicate)
    return np.bincount(origin, kept * choice.held_out) / np.maximum(np.bincount(origin, kept), 1)


def large_shares(names: list[str], shares: npt.NDArray[np.float64], fraction: float) -> list[str]:
    """A sentence for each source of which far more is held out than was asked for: few or long documents make it so."""
    return [
        f"{name}: {share:.1%} of its tokens are held out, not {fraction:.1%}: its documents are few or long"
        for name, share in zip(names, shares, strict=True)
        if share > SLACK * max(fraction, 0.01)
    ]


def _held_out(
    hashes: npt.NDArray[np.uint64], lengths: npt.NDArray[np.int32], origin: npt.NDArray[np.intp], fraction: float
) -> Marks:
    """Mark the smallest hashes of each source, and whatever has the same text elsewhere, as far as there is room."""
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

    Tokens are bounded since a few long documents can be most of a source. With few texts the asked share may be less
    than any of them, so the share of an average one counts where it is more; and the larger part of what was not asked
    for is always trained on.
    """
    texts = np.array([len(np.unique(hashes[origin == source])) for source in range(origin.max(initial=-1) + 1)])
    share = np.minimum(SLACK * np.maximum(fraction, 1 / np.maximum(texts, 1)), (1 + fraction) / 2)
    return share * np.bincount(origin, lengths), set(np.flatnonzero(texts > 1).tolist())


def _equal_to_earlier(hashes: npt.NDArray[np.uint64]) -> Marks:
    order = np.lexsort(hashes.T)  # a stable sort: the first of equal documents leads them
    ordered = hashes[order]
    equal = (ordered[1:] == ordered[:-1]).all(axis=1)
    marks = np.zeros(len(hashes), dtype=bool)
    marks[order[1:][equal]] = True
    return marks
