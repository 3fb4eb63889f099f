"""BERT's masking (Devlin et al. 2019): which positions of a sample are predicted, and what is shown there instead.

The random numbers come from the caller, so that training can draw them from its counters.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

MASKED_FRACTION = 0.15
HIDDEN, REPLACED = 0.8, 0.1  # the rest of the chosen tokens is shown as it is

_LAST = np.uint64(1 << 63)
_PASSED_OVER = np.uint64(1 << 62)
_COLUMN_BITS = np.uint64(16)


@dataclass(frozen=True)
class Masking:
    """The rule for one vocabulary.

    `special`, shape (vocab_size,), marks ids that are not predicted. `continues`, of the same shape, marks those
    that continue a word, to choose whole words; without it tokens are chosen one by one.
    """

    mask_token: int
    special: NDArray[np.bool_]
    continues: NDArray[np.bool_] | None

    @classmethod
    def of(cls, vocab_size: int, mask_token: int, special: list[int], continues: list[int] | None) -> Self:
        """The rule from lists of ids; no `continues` for choosing token by token."""
        return cls(
            mask_token, _table(vocab_size, special), None if continues is None else _table(vocab_size, continues)
        )

    def choose(self, tokens: NDArray[np.int64], bits: NDArray[np.uint64], count: int) -> NDArray[np.int64]:
        """The positions to predict, exactly `count` a sample; special tokens only where nothing else is left.

        Whole words are taken in a random order; one that no longer fits is passed over for the next that does. Only
        where none does is a word cut.

        Args:
            tokens: shape (samples, length), of at most 65,536 tokens.
            bits: 64 random bits for each token, of the same shape.
            count: positions a sample, fewer than its tokens.
        Returns:
            Increasing positions, shape (samples, count).
        """
        rank = bits >> np.uint64(1)
        if self.continues is not None:
            rank = self._rank_words(tokens, rank, count)
        rank[self.special[tokens]] |= _LAST
        return np.sort(np.argpartition(rank, count - 1, axis=1)[:, :count], axis=1)

    def _rank_words(self, tokens: NDArray[np.int64], rank: NDArray[np.uint64], count: int) -> NDArray[np.uint64]:
        """Numbers whose `count` smallest are those of whole words, shape (samples, length)."""
        columns = np.arange(tokens.shape[1])
        special = self.special[tokens]
        starts = ~self.continues[tokens]  # type: ignore[index]
        starts[:, 1:] |= special[:, :-1]  # [CLS] may stand in the middle of a word
        starts[:, 0] = True
        words = np.maximum.accumulate(np.where(starts, columns, 0), axis=1)
        rank = np.take_along_axis(rank, words, axis=1) >> np.uint64(1)
        rank = rank >> _COLUMN_BITS << _COLUMN_BITS | columns.astype(np.uint64)
        rank[special] |= _LAST
        rows = np.arange(len(tokens))
        while len(rows):
            order = np.argpartition(rank[rows], [count - 1, count], axis=1)[:, count - 1 : count + 1]
            (last, after), least = words[rows[:, None], order].T, rank[rows, order[:, 0]]
            cut = (last == after) & (least < _PASSED_OVER)
            rows, last = rows[cut], last[cut]
            rank[rows] |= np.where(words[rows] == last[:, None], _PASSED_OVER, np.uint64(0))
        return rank

    def show(
        self, tokens: NDArray[np.int64], chosen: NDArray[np.int64], chance: NDArray[np.float64], ignored: int
    ) -> NDArray[np.int64]:
        """Change `tokens` in place at the chosen positions: 80% show [MASK], 10% any token, 10% themselves.

        Args:
            tokens: shape (samples, length).
            chosen: positions, shape (samples, count).
            chance: uniform numbers in [0, 1) for the chosen positions, of the same shape.
            ignored: the label of special tokens, which stay as they are.
        Returns:
            The tokens that stood there, shape (samples, count).
        """
        labels = np.take_along_axis(tokens, chosen, axis=1)
        any_token = ((chance - HIDDEN) / REPLACED * len(self.special)).astype(np.int64)
        any_token = np.clip(any_token, 0, len(self.special) - 1)
        shown = np.where(chance < HIDDEN, self.mask_token, labels)
        shown = np.where((chance >= HIDDEN) & (chance < HIDDEN + REPLACED), any_token, shown)
        special = self.special[labels]
        np.put_along_axis(tokens, chosen, np.where(special, labels, shown), axis=1)
        labels[special] = ignored
        return labels


def word_continuations(tokenizer_json: Path) -> list[int] | None:
    """Ids of the tokens that continue a word, which WordPiece marks by `##`; None for other tokenizers."""
    model = json.loads(tokenizer_json.read_text(encoding="utf-8"))["model"]
    if model["type"] != "WordPiece":
        return None
    return [i for token, i in model["vocab"].items() if token.startswith(model["continuing_subword_prefix"])]


def _table(size: int, ids: list[int]) -> NDArray[np.bool_]:
    marks = np.zeros(size, dtype=bool)
    marks[ids] = True
    return marks
